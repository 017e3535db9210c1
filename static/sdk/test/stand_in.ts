// A small service that does what its script says: every fault on demand, and a provider's answers in order.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const KEY = "pnb_stand_in";
export const READY = { id: "sbx_5", state: "ready" };
export const EXIT = { type: "exit", data: 0, status: "ok", seq: 1, ts: 1 };

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: any;
}

export type Answer = (response: ServerResponse, request: Seen) => void;

export class StandIn implements AsyncDisposable {
  /** Taken one by one; when none is left, `otherwise`. */
  readonly script: Answer[] = [];
  readonly seen: Seen[] = [];
  otherwise: Answer = json(READY);
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece);
      const { method = "", url: path = "", headers } = request;
      const text = Buffer.concat(pieces).toString();
      const seen = { method, path, headers, body: text && JSON.parse(text) };
      this.seen.push(seen);
      (this.script.shift() ?? this.otherwise)(response, seen);
    });
  }

  static async start(...script: Answer[]): Promise<StandIn> {
    const made = new StandIn();
    made.script.push(...script);
    await new Promise<void>((resolve) => made.#server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get service(): { host: string; apiKey: string } {
    return { host: `${this.origin}/podflare`, apiKey: KEY };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Answer {
  return (response) =>
    response.writeHead(status, { "Content-Type": "application/json", ...headers }).end(JSON.stringify(body));
}

export function refused(status: number, code: string, headers: Record<string, string> = {}, details = {}): Answer {
  return json({ error: `No: ${code}.`, code, details }, status, headers);
}

/** The connection ends before an answer. */
export const cut: Answer = (response) => void response.destroy();

/** Events, and then the connection ends well, or is cut. */
export function events(list: readonly object[], { cutAfter = false } = {}): Answer {
  return (response) => {
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    const text = list.map((event, seq) => `${JSON.stringify({ seq, ts: 1, ...event })}\n`).join("");
    if (cutAfter) response.write(text, () => response.destroy());
    else response.end(text);
  };
}
