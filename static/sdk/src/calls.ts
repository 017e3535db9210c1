// Calls below /v1/sandboxes/{id}: what every part of a sandbox's surface stands on.

import type { CallOptions, Connection, Request } from "./connection.js";
import { MergedError } from "./errors.js";
import { type BaseEvent, eventOfLine } from "./lines.js";

/** One sandbox of one service. Not made by users. */
export class Calls {
  closed = false;
  #mergedInto: string | undefined;

  constructor(
    readonly connection: Connection,
    readonly id: string,
  ) {}

  get mergedInto(): string | undefined {
    return this.#mergedInto;
  }

  /** Take note that this sandbox was merged: there is nothing to close any more. */
  merged(parent: string): void {
    this.#mergedInto = parent;
    this.closed = true;
  }

  /** The URL path of something of this sandbox; throws MergedError for what a merge took away. */
  path(rest: string): string {
    if (this.#mergedInto !== undefined && !rest.startsWith("/notebook")) {
      throw new MergedError(
        `${this.id} was merged into ${this.#mergedInto}: use that one. Its notebook can still be read.`,
        { details: { merged_into: this.#mergedInto } },
      );
    }
    return `/v1/sandboxes/${encodeURIComponent(this.id)}${rest}`;
  }

  async call<T = unknown>(method: string, rest: string, request: Request = {}): Promise<T> {
    return this.connection.call<T>(method, this.path(rest), request);
  }

  async content(rest: string, options: CallOptions = {}): Promise<Uint8Array> {
    return this.connection.content("GET", this.path(rest), { signal: options.signal });
  }

  /** The events of a stream as they come, those of a chunk together: a loop over promises costs more than an event. */
  async *batches<E extends BaseEvent>(
    method: string,
    rest: string,
    request: Request = {},
  ): AsyncGenerator<E[], void, undefined> {
    for await (const lines of this.connection.lines(method, this.path(rest), request)) {
      yield lines.map((line) => eventOfLine<E>(line));
    }
  }

  /** The events of a stream as they come; leaving the loop ends the stream. */
  async *events<E extends BaseEvent>(
    method: string,
    rest: string,
    request: Request = {},
  ): AsyncGenerator<E, void, undefined> {
    for await (const batch of this.batches<E>(method, rest, request)) yield* batch;
  }
}
