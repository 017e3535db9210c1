/// <reference lib="esnext.disposable" preserve="true" />
// A sandbox from the caller's side: made, used, closed. Its parts are in the modules beside this one.

import { Branching } from "./branching.js";
import { Calls } from "./calls.js";
import { type CallOptions, Connection, type ConnectionOptions } from "./connection.js";
import { GoneError, isRecord, NotFoundError, UnexpectedAnswerError } from "./errors.js";
import { Files } from "./files.js";
import { Ports } from "./ports.js";
import { Terminals } from "./terminals.js";
import type { CreateBody, Egress, NetworkInfo, Notebook, PatchBody, SandboxInfo } from "./wire.js";

/** What a sandbox is made with; what is left out is the template's. */
export interface SandboxOptions extends ConnectionOptions, CallOptions {
  /** A name from `Client.templates()`. */
  template?: string | undefined;
  /** Its whole lifetime. */
  timeoutSeconds?: number | undefined;
  /** How long it may be unused. */
  idleTimeoutSeconds?: number | undefined;
  ramMib?: number | undefined;
  rootfsGb?: number | undefined;
  persistent?: boolean | undefined;
  /** What it may reach: true (the public internet), false (nothing) or `{ allow: ["files.example.org"] }`. */
  egress?: Egress | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  env?: Readonly<Record<string, string>> | undefined;
  /** After how many of its last turns its state is kept for `rewind` (0 to 100). */
  checkpoints?: number | undefined;
}

export type ExportFormat = "html" | "md" | "py" | "ipynb";

/** A notebook kernel of your own on the service: variables and files stay between calls. */
export class Sandbox extends Branching {
  readonly files: Files;
  readonly terminals: Terminals;
  readonly ports: Ports;

  /** `Sandbox.create` makes one, `Sandbox.connect` takes one up. */
  private constructor(calls: Calls) {
    super(calls);
    this.files = new Files(calls);
    this.terminals = new Terminals(calls);
    this.ports = new Ports(calls);
  }

  /** Make a sandbox. Close it in the end, or write `await using sandbox = await Sandbox.create()`. */
  static async create(options: SandboxOptions = {}): Promise<Sandbox> {
    const connection = new Connection(options);
    const body: CreateBody = {
      template: options.template,
      timeout_seconds: options.timeoutSeconds,
      idle_timeout_seconds: options.idleTimeoutSeconds,
      ram_mib: options.ramMib,
      rootfs_gb: options.rootfsGb,
      persistent: options.persistent,
      egress: options.egress,
      labels: options.labels,
      env: options.env,
      checkpoints: options.checkpoints,
    };
    const { signal } = options;
    const made = await connection.call<unknown>("POST", "/v1/sandboxes", { body, signal, keyed: true });
    if (!isRecord(made) || typeof made["id"] !== "string") {
      throw new UnexpectedAnswerError(
        `${connection.endpoint.url} says nothing of the sandbox that it was asked for. Is the host right? It usually ends ` +
          "with /podflare.",
      );
    }
    return new Sandbox(new Calls(connection, made["id"]));
  }

  /** Take up a sandbox that exists, from any process. Throws NotFoundError, or GoneError for one that has ended. */
  static async connect(id: string, options: ConnectionOptions & CallOptions = {}): Promise<Sandbox> {
    const sandbox = new Sandbox(new Calls(new Connection(options), id));
    const info = await sandbox.info({ signal: options.signal });
    if (info.state === "closed") {
      throw new GoneError(info.end?.message ?? `The sandbox ${id} is closed.`, {
        status: 410,
        details: { reason: info.end?.reason },
      });
    }
    return sandbox;
  }

  /** Whether this object knows that it is over: closed or merged by it. */
  get closed(): boolean {
    return this.calls.closed;
  }

  async info({ signal }: CallOptions = {}): Promise<SandboxInfo> {
    return this.calls.call<SandboxInfo>("GET", "", { signal });
  }

  /** Give it other timeouts (the lifetime counts from its creation) or other labels (all of them). */
  async extend(
    changes: Pick<SandboxOptions, "timeoutSeconds" | "idleTimeoutSeconds" | "labels">,
    { signal }: CallOptions = {},
  ): Promise<SandboxInfo> {
    const body: PatchBody = {
      timeout_seconds: changes.timeoutSeconds,
      idle_timeout_seconds: changes.idleTimeoutSeconds,
      labels: changes.labels,
    };
    return this.calls.call<SandboxInfo>("PATCH", "", { body, signal, repeatable: true });
  }

  /** Let it, and all branches of its family, reach this from now on. */
  async setEgress(egress: Egress, { signal }: CallOptions = {}): Promise<SandboxInfo> {
    return this.calls.call<SandboxInfo>("PATCH", "", { body: { egress }, signal, repeatable: true });
  }

  /** The policy, the bytes, and the last connections of its family, those that were refused too, with the reasons. */
  async network({ signal }: CallOptions = {}): Promise<NetworkInfo> {
    return this.calls.call<NetworkInfo>("GET", "/network", { signal });
  }

  /** The transcript in nbformat; also after the sandbox was closed. */
  async notebook({ signal }: CallOptions = {}): Promise<Notebook> {
    return this.calls.call<Notebook>("GET", "/notebook", { signal });
  }

  /** The transcript as a file's text: a web page, Markdown, a program or a notebook. */
  async exportNotebook(format: ExportFormat, options: CallOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.calls.content(`/notebook.${format}`, options));
  }

  /** End the sandbox: its processes and files are gone, its notebook stays. Can be called again. */
  override async close({ signal }: CallOptions = {}): Promise<void> {
    if (this.closed) return;
    try {
      await this.calls.call("DELETE", "", { signal, repeatable: true });
    } catch (error) {
      // It may have ended before (lifetime, idle, another process): that is what was wanted.
      if (!(error instanceof NotFoundError || error instanceof GoneError)) throw error;
    }
    this.calls.closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected override beside(id: string): this {
    return new Sandbox(new Calls(this.calls.connection, id)) as this;
  }
}
