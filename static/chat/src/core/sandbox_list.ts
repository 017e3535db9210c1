// My sandboxes, newest first: loads, creates, closes, and keeps the list current. Above: sidebar. Below: api.

import type { Api } from "./api.js";
import type { Egress, SandboxInfo } from "./wire.js";

const PAGE = 50;

interface Listing {
  sandboxes: SandboxInfo[];
  next_cursor: string | null;
}

export class SandboxList {
  sandboxes: SandboxInfo[] = [];
  private cursor: string | null = null;
  private pages = 1;

  constructor(
    private readonly api: Api,
    private readonly changed: () => void,
  ) {}

  get hasMore(): boolean {
    return this.cursor !== null;
  }

  find(id: string | null): SandboxInfo | undefined {
    return this.sandboxes.find((sandbox) => sandbox.id === id);
  }

  async refresh(): Promise<void> {
    const all: SandboxInfo[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < this.pages; page += 1) {
      const query: string = `?limit=${PAGE}&include_closed=true` + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : "");
      const answer: Listing = await this.api.json<Listing>("GET", `/sandboxes${query}`);
      all.push(...answer.sandboxes);
      cursor = answer.next_cursor;
      if (cursor === null) break;
    }
    this.cursor = cursor;
    this.sandboxes = all;
    this.changed();
  }

  async more(): Promise<void> {
    this.pages += 1;
    await this.refresh();
  }

  // A sandbox that the list does not hold (an old link): looked up by itself.
  async get(id: string): Promise<SandboxInfo> {
    const known = this.find(id);
    if (known) return known;
    const sandbox = await this.api.json<SandboxInfo>("GET", `/sandboxes/${id}`);
    if (!this.find(id)) this.sandboxes.push(sandbox);
    this.changed();
    return sandbox;
  }

  async create(asked: { template?: string; checkpoints?: number; egress?: Egress | undefined } = {}): Promise<SandboxInfo> {
    const sandbox = await this.api.json<SandboxInfo>("POST", "/sandboxes", { json: asked });
    if (!this.find(sandbox.id)) this.sandboxes.unshift(sandbox);
    this.changed();
    return sandbox;
  }

  // Of its whole family.
  async setEgress(id: string, egress: Egress): Promise<void> {
    await this.api.request("PATCH", `/sandboxes/${id}`, { json: { egress } });
    await this.refresh();
  }

  async close(id: string): Promise<void> {
    await this.api.request("DELETE", `/sandboxes/${id}`);
    await this.refresh();
  }
}
