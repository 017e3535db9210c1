// Terminals of a sandbox: bytes out as they come, bytes in, its size, its end. What shows them (xterm.js, the
// program's own terminal) is the caller's.

import type { Calls } from "./calls.js";
import type { CallOptions, Request } from "./connection.js";
import { isRecord, PodflareError, StreamBrokenError } from "./errors.js";
import type { TerminalBody, TerminalEvent, TerminalInfo, TerminalOutput } from "./wire.js";

/** Of one request; the service takes 1 MiB. */
const INPUT_BYTES = 1 << 19;

export interface TerminalOptions extends CallOptions {
  /** For `bash -lc`; a login bash unless this or `argv` is named. */
  command?: string | undefined;
  argv?: readonly string[] | undefined;
  /** 80 unless named. */
  cols?: number | undefined;
  /** 24 unless named. */
  rows?: number | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  cwd?: string | undefined;
}

/**
 * A terminal in a sandbox. Loop over it once for what it says; it ends with the terminal, whose exit code is in
 * `exitCode` then. Leaving the loop, or losing the connection, does not end the terminal: `kill` does.
 */
export class Terminal implements AsyncIterable<Uint8Array> {
  readonly #calls: Calls;
  readonly #events: AsyncGenerator<TerminalEvent, void, undefined>;
  #inputs: Promise<unknown> = Promise.resolve();
  /** 128 and the signal's number when a signal ended it; undefined until it was read to its end. */
  exitCode: number | undefined;
  /** The service's sentence when it was not the program that ended it. */
  error: string | undefined;
  /** Bytes that this reader was too slow or too late for. */
  droppedBytes = 0;
  /** How many bytes it had said in all when the last of those that were read came. */
  seq: number;

  constructor(
    calls: Calls,
    readonly id: string,
    events: AsyncGenerator<TerminalEvent, void, undefined>,
    after = 0,
  ) {
    this.#calls = calls;
    this.#events = events;
    this.seq = after;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const event of this.#events) {
        const bytes = this.#take(event);
        if (bytes?.length) yield bytes;
        if (this.exitCode !== undefined) return;
      }
    } catch (error) {
      if (!(error instanceof StreamBrokenError)) throw error;
      throw this.#broken(error.message, error);
    }
    throw this.#broken("The stream ended without an exit.");
  }

  /** Send what was typed. Several calls arrive in their order. */
  async write(data: string | Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    const sent = this.#inputs.then(async () => {
      for (let at = 0; at < bytes.length; at += INPUT_BYTES) {
        const data_b64 = base64OfBytes(bytes.subarray(at, at + INPUT_BYTES));
        await this.#call("input", { data_b64 }, { signal });
      }
    });
    // The next one is sent whether or not this one was taken; who wrote this one is told.
    this.#inputs = sent.catch(() => undefined);
    await sent;
  }

  async resize(cols: number, rows: number, { signal }: CallOptions = {}): Promise<void> {
    await this.#call("resize", { cols, rows }, { signal, repeatable: true });
  }

  /** End it and all that runs in it. Does nothing when it has ended. */
  async kill({ signal }: CallOptions = {}): Promise<void> {
    await this.#call("kill", {}, { signal, repeatable: true });
  }

  async #call(action: string, body: Record<string, unknown>, request: Request): Promise<void> {
    await this.#calls.call("POST", `/pty/${encodeURIComponent(this.id)}/${action}`, { body, ...request });
  }

  #take(event: TerminalEvent): Uint8Array | undefined {
    const before = this.seq;
    if (event.type === "pty_data") {
      const bytes = bytesOfBase64(event.data_b64);
      this.seq = Math.max(before, event.seq);
      // Of what was read before, by whoever attaches again, nothing.
      return bytes.subarray(Math.max(0, bytes.length - (event.seq - before)));
    }
    if (event.type === "notice" && isRecord(event.data))
      this.#noticed(event.seq, Number(event.data.dropped_bytes) || 0);
    else if (event.type === "pty_exit") this.exitCode = event.data;
    else if (event.type === "pty_error") this.error = event.message;
    return undefined;
  }

  #noticed(seq: number, dropped: number): void {
    this.droppedBytes += dropped;
    this.seq = Math.max(this.seq, seq);
  }

  #broken(message: string, cause?: unknown): StreamBrokenError {
    const sentence = `${message} The terminal ${this.id} may still run: attach(id, {after: seq}) takes it up again.`;
    return new StreamBrokenError(sentence, { lastSeq: this.seq, cause });
  }
}

export class Terminals {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** Start one. `signal` also ends the stream of what it says, and not the terminal. */
  async create(options: TerminalOptions = {}): Promise<Terminal> {
    const body: TerminalBody = {
      shellCmd: options.command,
      argv: options.argv && [...options.argv],
      cols: options.cols,
      rows: options.rows,
      env: options.env && Object.entries(options.env),
      cwd: options.cwd,
    };
    const events = this.#calls.events<TerminalEvent>("POST", "/pty", { body, signal: options.signal });
    for (;;) {
      const { value: event, done } = await events.next();
      if (done || !event)
        throw new StreamBrokenError("The stream of the terminal ended before the terminal was ready.");
      if (event.type === "pty_ready") return new Terminal(this.#calls, event.session_id, events);
      if (event.type === "pty_error") throw new PodflareError(event.message);
    }
  }

  /** Take up one that runs: what is kept of what it said (1 MiB), without what came up to `after`, then live. */
  async attach(id: string, { after = 0, signal }: CallOptions & { after?: number } = {}): Promise<Terminal> {
    const events = this.#calls.events<TerminalEvent>("GET", `/pty/${encodeURIComponent(id)}/attach`, { signal });
    return new Terminal(this.#calls, id, events, after);
  }

  /** Those that live, and the last that have ended, oldest first. */
  async list({ signal }: CallOptions = {}): Promise<TerminalInfo[]> {
    return this.#calls.call<TerminalInfo[]>("GET", "/pty", { signal });
  }

  /** What one said after `sinceSeq`, or the first of it that comes within `timeoutMs`: for those that poll. */
  async read(
    id: string,
    {
      sinceSeq = 0,
      maxBytes,
      timeoutMs,
      signal,
    }: CallOptions & { sinceSeq?: number; maxBytes?: number; timeoutMs?: number } = {},
  ): Promise<{ bytes: Uint8Array; seq: number; droppedBytes: number; exitCode: number | undefined }> {
    const body = { since_seq: sinceSeq, max_bytes: maxBytes, timeout_ms: timeoutMs };
    const waitSeconds = (timeoutMs ?? 0) / 1000;
    const path = `/pty/${encodeURIComponent(id)}/read`;
    const said = await this.#calls.call<TerminalOutput>("POST", path, { body, signal, waitSeconds, repeatable: true });
    const { seq, dropped_bytes: droppedBytes, exit_code: exitCode } = said;
    return { bytes: bytesOfBase64(said.data_b64), seq, droppedBytes, exitCode: exitCode ?? undefined };
  }
}

function bytesOfBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

function base64OfBytes(bytes: Uint8Array): string {
  let text = "";
  // A call takes so many arguments at most.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}
