// What the open sandbox serves: looks when something may have changed, never by the clock alone. Knows nothing of the page.
// Above: previews. Below: api.

import { type Api, ApiError } from "./api.js";
import type { Wait } from "./conversation.js";
import type { PortInfo, PortLink } from "./wire.js";

const LATER = [1000, 2000, 4000, 8000, 15_000, 30_000]; // milliseconds: a server that a cell started may load a model first
const LINK_SECONDS = 3600;

export class Ports {
  all: PortInfo[] = [];
  private sandboxId: string | null = null;
  private looking = new AbortController();

  constructor(private readonly api: Api, private readonly changed: () => void, private readonly wait: Wait) {}

  open(sandboxId: string | null): void {
    this.looking.abort();
    this.sandboxId = sandboxId;
    this.all = [];
    this.changed();
    if (sandboxId !== null) void this.look();
  }

  // Code has run: now, and ever more rarely for a minute. What was begun by an earlier call ends.
  async follow(): Promise<void> {
    this.looking.abort();
    const { signal } = (this.looking = new AbortController());
    await this.look();
    for (const pause of LATER) {
      await this.wait(pause, signal);
      if (signal.aborted) return;
      await this.look();
    }
  }

  async look(): Promise<void> {
    const { sandboxId } = this;
    if (sandboxId === null) return;
    let found: PortInfo[] = [];
    try {
      found = await this.api.json<PortInfo[]>("GET", `/sandboxes/${sandboxId}/ports`);
    } catch (reason) {
      if (!(reason instanceof ApiError) || reason.status === 0) return; // what is known stays; the rest of the page tells
    }
    if (sandboxId !== this.sandboxId || JSON.stringify(found) === JSON.stringify(this.all)) return;
    this.all = found;
    this.changed();
  }

  // Where this browser reaches a port: by its login, or by a link where the page has but a key that was typed in.
  async address(port: number): Promise<string> {
    if (this.api.hasKey) return (await this.link(port)).url;
    return `${this.api.base}/sandboxes/${this.sandboxId}/ports/${port}/`;
  }

  // A link for others, at the address by which this page reached the service.
  async link(port: number): Promise<PortLink> {
    const made = await this.api.json<PortLink>("POST", `${this.path(port)}/links`, { json: { expires_seconds: LINK_SECONDS } });
    return { ...made, url: location.origin + new URL(made.url).pathname };
  }

  async revoke(port: number): Promise<void> {
    await this.api.request("DELETE", `${this.path(port)}/links`);
  }

  private path(port: number): string {
    return `/sandboxes/${this.sandboxId}/ports/${port}`;
  }
}
