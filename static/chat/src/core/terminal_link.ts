// One terminal of a sandbox, live: follows what its program writes over as many connections as it takes, and sends what
// is typed, in order and one request at a time. The program goes on without us. No page. Above: terminals, terminal_pane.
// Below: api.

import { type Api, ApiError } from "./api.js";
import { asApiError, type Wait } from "./conversation.js";
import { readLines } from "./ndjson.js";
import type { TerminalEvent, TerminalInfo, TerminalOutput } from "./wire.js";

export interface Screen {
  // Resolves when the bytes are shown. `past`: they were said before anybody here looked.
  write(bytes: Uint8Array, past: boolean): Promise<void>;
}

export interface Size {
  cols: number;
  rows: number;
}

// "idle": nobody looks at it here; "lost": the connection broke and is being taken up again.
export type LinkState = "idle" | "joining" | "live" | "lost" | "ended";

const FIRST_RETRY = 400;
const LONGEST_RETRY = 8000;
const SILENCE = 20_000; // the service says something every 10 seconds
const UNSHOWN_BYTES = 512 * 1024; // more than that waits in the connection, not in this page
const KEPT_BYTES = 1024 * 1024; // by the service, of what a terminal said
const INPUT_BYTES = 32 * 1024; // of one request

export class TerminalLink {
  state: LinkState = "idle";
  exitCode: number | null;
  problem: string | null = null; // why it is over, when not by its own exit
  private aborter = new AbortController();
  private visit = 0;
  private seen = 0; // how many of its bytes are on the screen or gone
  private caughtUp: boolean; // what it said before anybody here looked is on the screen
  private heard = 0; // events
  private unsent: Uint8Array[] = [];
  private sending = false;
  private size: Size | null; // that it has, as far as is known here
  private wantedSize: Size | null = null;
  private sizing = false;
  private skipWait: () => void = () => undefined;

  // `made`: the size that it was just made with, here; nothing of what it says is past then.
  constructor(
    private readonly api: Api,
    private readonly path: string,
    readonly info: TerminalInfo,
    made: Size | null,
    private readonly changed: () => void,
    private readonly failed: (problem: ApiError) => void,
    private readonly wait: Wait,
  ) {
    this.exitCode = info.exit_code;
    this.caughtUp = made !== null;
    this.size = made;
  }

  get over(): boolean {
    return this.exitCode !== null || this.state === "ended";
  }

  // Shows what it said and says, until `leave` or its end.
  async join(screen: Screen): Promise<void> {
    if (this.state !== "idle") return;
    const visit = (this.visit += 1);
    let retry = FIRST_RETRY;
    this.turn("joining");
    for (;;) {
      const before = this.seen;
      const attempt = (this.aborter = new AbortController());
      try {
        void this.watch(attempt);
        if (await this.show(screen, attempt.signal)) return;
      } catch (reason) {
        if (visit === this.visit && isFinal(reason)) {
          this.problem = asApiError(reason).message;
          this.turn("ended");
          return;
        }
      } finally {
        attempt.abort();
      }
      if (visit !== this.visit) return;
      if (this.seen > before) retry = FIRST_RETRY;
      this.turn("lost");
      const again = (this.aborter = new AbortController());
      await Promise.race([this.wait(retry, again.signal), new Promise<void>((go) => (this.skipWait = go))]);
      if (visit !== this.visit) return;
      retry = Math.min(retry * 2, LONGEST_RETRY);
    }
  }

  // Nobody looks at it any more; `join` takes it up where it was left.
  leave(): void {
    this.visit += 1;
    this.aborter.abort();
    this.size = null;
    if (this.state !== "ended") this.state = "idle";
  }

  retryNow(): void {
    this.skipWait();
  }

  type(bytes: Uint8Array): void {
    if (this.over) return;
    for (let at = 0; at < bytes.length; at += INPUT_BYTES) this.unsent.push(bytes.subarray(at, at + INPUT_BYTES));
    if (!this.sending) void this.send();
  }

  resize(size: Size): void {
    this.wantedSize = size;
    if (!this.sizing) void this.sendSize();
  }

  async kill(): Promise<void> {
    await this.api.request("POST", `${this.path}/kill`, { json: {} });
  }

  // One connection, from where the screen is. Whether the terminal came to its end.
  private async show(screen: Screen, signal: AbortSignal): Promise<boolean> {
    if (!this.caughtUp) await this.catchUp(screen, signal);
    const response = await this.api.request("GET", `${this.path}/attach?since_seq=${this.seen}`, { signal });
    if (response.body === null || signal.aborted) return false;
    this.turn("live");
    let unshown = 0;
    for await (const line of readLines(response.body)) {
      if (signal.aborted) return false;
      this.heard += 1;
      const event = JSON.parse(line) as TerminalEvent;
      if (event.type === "pty_error") this.problem = event.message ?? "The terminal failed.";
      if (event.type === "pty_exit") {
        this.exitCode = typeof event.data === "number" ? event.data : -1;
        this.turn("ended");
        return true;
      }
      const bytes = bytesOf(event);
      if (bytes === null) continue;
      unshown += bytes.length;
      const shown = screen.write(bytes, false).then(() => { unshown -= bytes.length; });
      this.seen = event.seq;
      if (unshown > UNSHOWN_BYTES) await shown;
      this.heard += 1;
    }
    return false;
  }

  private async catchUp(screen: Screen, signal: AbortSignal): Promise<void> {
    const json = { since_seq: 0, max_bytes: KEPT_BYTES, timeout_ms: 0 };
    const past = await this.api.json<TerminalOutput>("POST", `${this.path}/read`, { json, signal });
    if (signal.aborted) return;
    this.seen = past.seq;
    this.caughtUp = true;
    void screen.write(decoded(past.data_b64), true);
  }

  // A network that is gone without a word (a lid that was closed) is found by its silence.
  private async watch(attempt: AbortController): Promise<void> {
    while (!attempt.signal.aborted) {
      const heard = this.heard;
      await this.wait(SILENCE, attempt.signal);
      if (heard === this.heard) attempt.abort();
    }
  }

  private async send(): Promise<void> {
    this.sending = true;
    try {
      while (this.unsent.length > 0 && !this.over) {
        await this.api.request("POST", `${this.path}/input`, { json: { data_b64: base64(this.take()) } });
      }
    } catch (reason) {
      this.unsent = []; // what was typed into a dead line must not run minutes later
      if (!this.over) this.failed(asApiError(reason));
    } finally {
      this.sending = false;
    }
  }

  // As much of what waits as one request takes.
  private take(): Uint8Array {
    let size = 0;
    let count = 0;
    while (count < this.unsent.length && size + (this.unsent[count]?.length ?? 0) <= INPUT_BYTES) size += this.unsent[count++]?.length ?? 0;
    const whole = new Uint8Array(size);
    let at = 0;
    for (const part of this.unsent.splice(0, count)) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }

  // While one request is under way only the newest size waits.
  private async sendSize(): Promise<void> {
    this.sizing = true;
    try {
      for (let size = this.wantedSize; size !== null && !this.over; size = this.wantedSize) {
        this.wantedSize = null;
        if (size.cols === this.size?.cols && size.rows === this.size.rows) continue;
        this.size = size;
        await this.api.request("POST", `${this.path}/resize`, { json: { ...size } });
      }
    } catch (reason) {
      if (!this.over && this.state === "live") this.failed(asApiError(reason)); // else its stream tells what is wrong
    } finally {
      this.sizing = false;
    }
  }

  private turn(state: LinkState): void {
    if (this.state === state) return;
    this.state = state;
    this.changed();
  }
}

// Refused for good: the terminal or its sandbox is gone. Anything else is a broken connection.
function isFinal(reason: unknown): boolean {
  return reason instanceof ApiError && reason.status >= 400 && reason.status < 500 && reason.status !== 429;
}

// What an event puts on the screen. Where bytes are missing, CAN ends a sequence that was cut in the middle.
function bytesOf(event: TerminalEvent): Uint8Array | null {
  if (event.type === "pty_data") return decoded(event.data_b64 ?? "");
  const notice = event.type === "notice" ? (event.data as { message?: unknown } | null) : null;
  if (typeof notice?.message !== "string") return null;
  return new TextEncoder().encode(`\x18\x1b[m\r\n[${notice.message.replace(/[\x00-\x1f\x7f-\x9f]/g, " ")}]\r\n`);
}

function decoded(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
}

function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));
}
