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
  private asked = 0;
  private beyond: string | null = null; // the one that is to be had even where the list does not reach

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

  // A later call, or a sandbox made meanwhile, makes an answer old: it is dropped.
  async refresh(): Promise<void> {
    const asked = (this.asked += 1);
    const all: SandboxInfo[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < this.pages; page += 1) {
      const query: string = `?limit=${PAGE}&include_closed=true` + (cursor ? `&cursor=${encodeURIComponent(cursor)}` : "");
      const answer: Listing = await this.api.json<Listing>("GET", `/sandboxes${query}`);
      all.push(...answer.sandboxes);
      cursor = answer.next_cursor;
      if (cursor === null) break;
    }
    const { beyond } = this;
    if (beyond !== null && !all.some((one) => one.id === beyond)) {
      const found = await this.lookUp(beyond).catch(() => this.find(beyond));
      if (found) all.push(found);
    }
    if (asked !== this.asked) return;
    this.cursor = cursor;
    this.sandboxes = all;
    this.changed();
  }

  async more(): Promise<void> {
    this.pages += 1;
    await this.refresh();
  }

  // Looked up by itself where the list does not hold it (an old link), now and whenever the list is read again.
  async get(id: string): Promise<SandboxInfo> {
    this.beyond = id;
    const known = this.find(id);
    if (known) return known;
    const sandbox = await this.lookUp(id);
    if (!this.find(id)) this.sandboxes.push(sandbox);
    this.changed();
    return sandbox;
  }

  private lookUp(id: string): Promise<SandboxInfo> {
    return this.api.json<SandboxInfo>("GET", `/sandboxes/${id}`);
  }

  async create(asked: { template?: string; checkpoints?: number; egress?: Egress | undefined } = {}): Promise<SandboxInfo> {
    const sandbox = await this.api.json<SandboxInfo>("POST", "/sandboxes", { json: asked });
    this.asked += 1;
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
