// Bytes of a body into its lines, as they come: one JSON object a line, as the service streams events.

import { UnexpectedAnswerError } from "./errors.js";

/** What every event of every stream has; `seq` counts from 0 in each call, `ts` is milliseconds since the epoch. */
export interface BaseEvent {
  readonly type: string;
  readonly data?: unknown;
  readonly seq: number;
  readonly ts: number;
}

/** Chunks in, whole lines out, without newlines and without empty ones. */
export class LineSplitter {
  readonly #decoder = new TextDecoder();
  // A line may be many chunks long (a picture): its pieces are joined once.
  #pieces: string[] = [];

  feed(chunk: Uint8Array): string[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const end = text.indexOf("\n");
    if (end < 0) {
      this.#pieces.push(text);
      return [];
    }
    const lines = text.split("\n");
    this.#pieces.push(lines[0] ?? "");
    lines[0] = this.#pieces.join("");
    const rest = lines.pop();
    this.#pieces = rest ? [rest] : [];
    return lines.filter((line) => line.trim() !== "");
  }

  /** What came after the last newline: not empty means that the stream was cut inside a line. */
  rest(): string {
    return this.#pieces.join("") + this.#decoder.decode();
  }
}

/** Read one line. Types that this client does not know pass through: who reads them skips them. */
export function eventOfLine<E extends BaseEvent>(line: string): E {
  let event: unknown;
  try {
    event = JSON.parse(line);
  } catch {
    event = undefined;
  }
  if (typeof event !== "object" || event === null || !("type" in event) || typeof event.type !== "string") {
    throw new UnexpectedAnswerError(`The stream holds a line that is no event: ${line.slice(0, 200)}`);
  }
  const known = event as { seq?: unknown; ts?: unknown };
  if (typeof known.seq !== "number") known.seq = 0;
  if (typeof known.ts !== "number") known.ts = 0;
  return event as E;
}
