// Ports of a sandbox: what listens there, where it is reached, and links to show it to others.

import type { Calls } from "./calls.js";
import type { CallOptions } from "./connection.js";
import type { PortInfo, PortLink } from "./wire.js";

export interface LinkOptions extends CallOptions {
  /** How long it is valid: 1 to 86400; an hour unless named. */
  expiresSeconds?: number | undefined;
}

/** The ports of one sandbox. Branches of one family have one network, hence the same ports. */
export class Ports {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  /** What listens, by number. */
  async list({ signal }: CallOptions = {}): Promise<PortInfo[]> {
    return this.#calls.call<PortInfo[]>("GET", "/ports", { signal });
  }

  /**
   * Where you reach a port, whatever listens there; paths go behind its slash. Requests need your key in the
   * Authorization header; a browser needs to be logged in.
   */
  url(port: number): string {
    return `${this.#calls.connection.endpoint.url}/sandboxes/${this.#calls.id}/ports/${port}/`;
  }

  /** A link that shows a port to whoever has it, until it expires, is revoked, or the sandbox ends. */
  async link(port: number, { expiresSeconds, signal }: LinkOptions = {}): Promise<PortLink> {
    const body = { expires_seconds: expiresSeconds };
    return this.#calls.call<PortLink>("POST", `/ports/${port}/links`, { body, signal });
  }

  /** End all links of a port, with what goes on by them. */
  async revokeLinks(port: number, { signal }: CallOptions = {}): Promise<void> {
    await this.#calls.call("DELETE", `/ports/${port}/links`, { signal, repeatable: true });
  }
}
