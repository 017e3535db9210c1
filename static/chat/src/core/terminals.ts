// The terminals of the open sandbox: lists them, makes new ones, and keeps one link for each. Knows nothing of the page.
// Above: terminals_panel. Below: terminal_link, api.

import { type Api, ApiError } from "./api.js";
import type { Wait } from "./conversation.js";
import { type Size, TerminalLink } from "./terminal_link.js";
import type { TerminalEvent, TerminalInfo } from "./wire.js";

export class Terminals {
  private links = new Map<string, TerminalLink>();
  private forgotten = new Set<string>(); // ended ones that the person put away
  private sandboxId: string | null = null;
  private asked = 0;

  constructor(
    private readonly api: Api,
    private readonly changed: () => void,
    private readonly failed: (problem: ApiError) => void,
    private readonly wait: Wait,
  ) {}

  get all(): TerminalLink[] {
    return [...this.links.values()];
  }

  // Leaves those of the sandbox before; they go on.
  open(sandboxId: string | null): void {
    for (const link of this.links.values()) link.leave();
    this.links.clear();
    this.sandboxId = sandboxId;
    this.asked += 1;
  }

  // What there is now. An answer that comes late, for a sandbox that is no longer open, is dropped.
  async refresh(): Promise<void> {
    if (this.sandboxId === null) return;
    this.asked += 1;
    const asked = this.asked;
    const rows = await this.api.json<TerminalInfo[]>("GET", `/sandboxes/${this.sandboxId}/pty`);
    if (asked !== this.asked) return;
    for (const row of rows) {
      const known = this.links.get(row.pty_id);
      if (known === undefined && !this.forgotten.has(row.pty_id)) this.keep(row, null);
      else if (known?.state === "idle") known.exitCode ??= row.exit_code;
    }
    this.changed();
  }

  // A login shell in the workspace; null where another sandbox was opened meanwhile.
  async create(size: Size): Promise<TerminalLink | null> {
    const { sandboxId } = this;
    const stream = this.api.events<TerminalEvent>("POST", `/sandboxes/${sandboxId}/pty`, { json: { ...size } });
    const first = await stream.next();
    await stream.return(undefined); // the link attaches, now and after a lost connection
    const event = first.done ? null : first.value;
    if (event?.type !== "pty_ready" || event.session_id === undefined) {
      throw new ApiError(0, "terminal", event?.message ?? "The connection broke before the terminal was there.");
    }
    if (sandboxId !== this.sandboxId) return null;
    const told = { pty_id: event.session_id, cmd_label: "bash -l", created_at_ms: event.ts, exit_code: null };
    return this.links.get(event.session_id) ?? this.keep(told, size);
  }

  forget(link: TerminalLink): void {
    link.leave();
    this.links.delete(link.info.pty_id);
    this.forgotten.add(link.info.pty_id);
  }

  private keep(info: TerminalInfo, made: Size | null): TerminalLink {
    const path = `/sandboxes/${this.sandboxId}/pty/${encodeURIComponent(info.pty_id)}`;
    const link = new TerminalLink(this.api, path, info, made, this.changed, this.failed, this.wait);
    this.links.set(info.pty_id, link);
    return link;
  }
}
