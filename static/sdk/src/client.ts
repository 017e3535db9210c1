// The service as a whole: what it offers and what runs there. Sandboxes are made by `Sandbox.create`.

import { type CallOptions, Connection, type ConnectionOptions } from "./connection.js";
import type { Capabilities, SandboxInfo, SandboxPage, TemplateInfo } from "./wire.js";

const PAGE = 100;

export class Client {
  readonly #connection: Connection;

  constructor(options: ConnectionOptions = {}) {
    this.#connection = new Connection(options);
  }

  /** The service's address, as it was found. */
  get url(): string {
    return this.#connection.endpoint.url;
  }

  /** What the service can do, and how it isolates. */
  async capabilities({ signal }: CallOptions = {}): Promise<Capabilities> {
    return this.#connection.call<Capabilities>("GET", "/v1/capabilities", { signal });
  }

  /** What sandboxes can be made from. */
  async templates({ signal }: CallOptions = {}): Promise<TemplateInfo[]> {
    return (await this.#connection.call<{ templates: TemplateInfo[] }>("GET", "/v1/templates", { signal })).templates;
  }

  /** Your sandboxes, newest first, however many they are. */
  async *sandboxes({ includeClosed = false, signal }: CallOptions & { includeClosed?: boolean } = {}): AsyncGenerator<
    SandboxInfo,
    void,
    undefined
  > {
    const params: Record<string, string | number> = {
      limit: PAGE,
      ...(includeClosed ? { include_closed: "true" } : {}),
    };
    for (;;) {
      const page = await this.#connection.call<SandboxPage>("GET", "/v1/sandboxes", { params, signal });
      yield* page.sandboxes;
      if (!page.next_cursor) return;
      params["cursor"] = page.next_cursor;
    }
  }

  /** Whether a service answers at the URL; needs no key. */
  async isHealthy({ signal }: CallOptions = {}): Promise<boolean> {
    try {
      return new TextDecoder().decode(await this.#connection.content("GET", "/v1/healthz", { signal })).trim() === "ok";
    } catch {
      signal?.throwIfAborted();
      return false;
    }
  }
}
