// What a run of code gave: text, rich results, the error and how it ended, gathered from the events of its stream.
// No input or output happens here.

import { CodeError, isRecord, UnexpectedAnswerError } from "./errors.js";
import type { ExecEvent, ExitEvent, OutputEvent, RefusedConnection } from "./wire.js";

// Colours, cursor moves, titles: what a terminal would not show as text.
const ANSI = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
const PICTURES = ["image/png", "image/jpeg", "image/gif", "image/webp"];

export function stripAnsi(text: string): string {
  return text.replace(ANSI, "");
}

/** One output in all forms that it has, by MIME type: base64 text for pictures, text for the rest, objects for JSON. */
export type MimeBundle = Readonly<Record<string, unknown>>;

/** A picture as models and browsers take it. */
export interface Image {
  readonly mediaType: string;
  /** Base64. */
  readonly data: string;
}

/** One rich output: a displayed object or the value of the last expression, in all forms that it has. */
export class Result {
  constructor(
    readonly data: MimeBundle,
    readonly metadata: Readonly<Record<string, unknown>> = {},
    /** True for the value of the last expression, false for what was displayed. */
    readonly isValue = false,
    readonly displayId: string | undefined = undefined,
  ) {}

  get text(): string | undefined {
    return this.#form("text/plain");
  }

  /** The HTML form, as the sandbox made it: not to be trusted. */
  get html(): string | undefined {
    return this.#form("text/html");
  }

  get svg(): string | undefined {
    return this.#form("image/svg+xml");
  }

  get json(): unknown {
    return this.data["application/json"];
  }

  /** The picture as PNG, JPEG, GIF or WebP, whichever comes first. */
  get image(): Image | undefined {
    const mediaType = PICTURES.find((type) => type in this.data);
    const data = mediaType && this.#form(mediaType)?.replaceAll("\n", "");
    return mediaType && data ? { mediaType, data } : undefined;
  }

  #form(mediaType: string): string | undefined {
    return joined(this.data[mediaType]) || undefined;
  }
}

/** The exception that ended the code. */
export interface ExecutionError {
  readonly ename: string;
  readonly evalue: string;
  /** As IPython made it, without its colours. */
  readonly traceback: string;
}

/** A remark of the service: output was cut, the kernel was replaced, a connection was refused. */
export interface Notice {
  readonly code: string;
  readonly message: string;
}

/** ok, error, interrupted, timeout or died; a newer service may know more. */
export type ExecStatus = ExitEvent["status"] | (string & {});

/** How a run of code ended and what it gave. */
export class ExecResult {
  /** The lines joined by newlines, without a last one; so with stderr. */
  readonly stdout: string;
  readonly stderr: string;
  /** 0, 1 for an exception, n of `sys.exit(n)`, bash's own, 124 at a timeout, 130 interrupted, 137 when it died. */
  readonly exitCode: number;
  readonly results: readonly Result[];
  readonly error: ExecutionError | undefined;
  readonly status: ExecStatus;
  readonly executionCount: number | undefined;
  /** False: the kernel had to be replaced, so variables are gone. */
  readonly statePreserved: boolean;
  /** The service's sentence about a timeout or a death. */
  readonly message: string | undefined;
  readonly notices: readonly Notice[];
  /** Connections that the egress policy refused while it ran; each is a notice, too. */
  readonly refused: readonly RefusedConnection[];
  /** The cell of the notebook that records it. */
  readonly cellId: string | undefined;
  /** The turn that it was: what `rewind` takes. */
  readonly turnId: string | undefined;

  constructor(facts: Pick<ExecResult, "stdout" | "stderr" | "results" | "error" | "notices" | "refused">, exit: ExitEvent) {
    this.stdout = facts.stdout;
    this.stderr = facts.stderr;
    this.results = facts.results;
    this.error = facts.error;
    this.notices = facts.notices;
    this.refused = facts.refused;
    if (!Number.isInteger(exit.data)) {
      throw new UnexpectedAnswerError(`The stream holds an exit without an exit code: ${JSON.stringify(exit)}`);
    }
    this.exitCode = exit.data;
    this.status = (exit.status as ExecStatus | undefined) ?? (this.exitCode === 0 ? "ok" : "error");
    this.executionCount = exit.execution_count ?? undefined;
    this.statePreserved = exit.state_preserved !== false;
    this.message = exit.message ?? undefined;
    this.cellId = exit.cell_id ?? undefined;
    this.turnId = exit.turn_id ?? undefined;
  }

  /** Whether the code ended with exit code 0. */
  get ok(): boolean {
    return this.exitCode === 0;
  }

  /** What it printed, and the text of what it showed, in that order. */
  get text(): string {
    return [this.stdout, ...this.results.map((result) => result.text)].filter(Boolean).join("\n");
  }

  /** Every picture among the results. */
  get images(): Image[] {
    return this.results.flatMap((result) => result.image ?? []);
  }

  /** Whether the service dropped output; the notice tells how much there was. */
  get truncated(): boolean {
    return this.notices.some((notice) => notice.code === "output_truncated");
  }

  /** Throw CodeError with the code's own error if it failed; else give the result itself. */
  throwForError(): this {
    if (this.ok) return this;
    const own = this.error && (this.error.evalue ? `${this.error.ename}: ${this.error.evalue}` : this.error.ename);
    const why = this.message || own || this.stderr.trim() || `The code ended with exit code ${this.exitCode}.`;
    throw new CodeError(why, { details: { exit_code: this.exitCode } });
  }
}

/** Called with each line (without its newline) and each rich result as it comes. */
export interface OutputCallbacks {
  onStdout?: ((line: string) => unknown) | undefined;
  onStderr?: ((line: string) => unknown) | undefined;
  onResult?: ((result: Result) => unknown) | undefined;
}

/** Reads the events of one run in order; `result` is there once an exit came. */
export class ResultCollector {
  readonly #callbacks: OutputCallbacks;
  readonly #stdout: string[] = [];
  readonly #stderr: string[] = [];
  results: Result[] = [];
  readonly #notices: Notice[] = [];
  readonly #refused: RefusedConnection[] = [];
  #error: ExecutionError | undefined;
  result: ExecResult | undefined;
  exit: ExitEvent | undefined;

  constructor(callbacks: OutputCallbacks = {}) {
    this.#callbacks = callbacks;
  }

  get stdout(): string {
    return this.#stdout.join("\n");
  }

  get stderr(): string {
    return this.#stderr.join("\n");
  }

  /** Take the next event. Types that are not known are skipped. */
  add(event: ExecEvent): void {
    if (event.type === "stdout") {
      this.#stdout.push(event.data);
      this.#callbacks.onStdout?.(event.data);
    } else if (event.type === "stderr") {
      this.#stderr.push(event.data);
      this.#callbacks.onStderr?.(event.data);
    } else if (event.type === "exit") {
      const { stdout, stderr, results } = this;
      const facts = { stdout, stderr, results, error: this.#error, notices: this.#notices, refused: this.#refused };
      this.exit = event;
      this.result = new ExecResult(facts, event);
    } else if (isRecord(event.data)) {
      this.#addObject(event);
    }
  }

  #addObject(event: Exclude<ExecEvent, { data: string | number }>): void {
    if (event.type === "result" || event.type === "display") this.#addResult(event);
    else if (event.type === "error") this.#error = errorOf(event.data);
    else if (event.type === "notice") {
      this.#notices.push({ code: String(event.data.code), message: String(event.data.message) });
    } else if (event.type === "network") {
      const { host, port, protocol, reason } = event.data;
      const target = port === null ? host : `${host}:${port}`;
      this.#refused.push(event.data);
      this.#notices.push({ code: "network_refused", message: reason ?? `${target} (${protocol}) was refused.` });
    }
  }

  #addResult(event: OutputEvent): void {
    const displayId = event.display_id ?? undefined;
    const result = new Result(event.data, event.metadata ?? {}, event.type === "result", displayId);
    if ("update" in event && event.update)
      this.results = this.results.map((one) => (one.displayId === displayId ? result : one));
    else this.results.push(result);
    this.#callbacks.onResult?.(result);
  }
}

/** An error output as Jupyter writes it. */
export function errorOf(data: Readonly<Record<string, unknown>>): ExecutionError {
  const lines = Array.isArray(data["traceback"]) ? data["traceback"].map(String) : [];
  return {
    ename: String(data["ename"] ?? "Error"),
    evalue: String(data["evalue"] ?? ""),
    traceback: stripAnsi(lines.join("\n")),
  };
}

/** A text of a notebook as one string: nbformat keeps long ones as lists of lines. */
export function joined(value: unknown): string {
  if (Array.isArray(value)) return value.map(String).join("");
  return typeof value === "string" ? value : "";
}
