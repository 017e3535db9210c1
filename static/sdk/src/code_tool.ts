// The tool that runs code, as every framework is given it: what a model asks for into a run, the run into an answer.
//
// The same tool as podflare_nb/integrations/code_tool.py makes for Python's frameworks. Nothing that a model or a
// sandbox can cause is thrown: wrong arguments, a sandbox that has ended and a service that is away are outcomes with
// `isError` and a sentence that the model can act on. No framework's types are here; the adapters translate.

import {
  GoneError,
  InvalidArgumentError,
  isRecord,
  NotFoundError,
  PodflareError,
  StreamBrokenError,
  UnauthenticatedError,
} from "./errors.js";
import type { Provenance } from "./execution.js";
import { DEFAULT_LIMIT, observe, shorten } from "./observation.js";
import type { Image } from "./result.js";
import { Sandbox, type SandboxOptions } from "./sandbox.js";
import type { Language } from "./wire.js";

export const NAME = "run_code";

export const DESCRIPTION =
  "Run code in a live Jupyter notebook and get its output. Python runs in one IPython kernel: variables, imports and " +
  'files stay from call to call. With language "bash" the code runs in a fresh bash process in the same directory. The ' +
  "last expression of Python code is shown, and so are plots. Long output is cut in the middle: print summaries. What the " +
  "code may reach over the network is set for each sandbox; when a connection is refused, the output says why.";

/** JSON Schema of the arguments; a new one for each, since frameworks keep and change what they are given. */
export function inputSchema() {
  return {
    type: "object" as const,
    properties: {
      code: { type: "string" as const, description: "The code to run." },
      language: {
        type: "string" as const,
        enum: ["python", "bash"] as Language[],
        description: "python (the default) or bash.",
      },
    },
    required: ["code"],
    additionalProperties: false as const,
  };
}

/** How long one run may take unless the adapter's caller says otherwise; then the code is interrupted. */
const DEFAULT_SECONDS = 600;
const CLOSED = "The program that runs you closed this tool's sandbox.";
const SHOWN = 100;
const USAGE = 'Call it with {"code": string, "language": "python" or "bash" (may be left out)}.';

/** What a model is told. */
export interface ToolOutcome {
  /** Never empty; at most the limit's characters, head and tail. */
  readonly text: string;
  /** Pictures that every provider takes in size. */
  readonly images: readonly Image[];
  readonly isError: boolean;
  /** Of the code that ran; undefined when none did. */
  readonly exitCode: number | undefined;
}

export interface CodeToolOptions extends SandboxOptions {
  /** The sandbox to run in, which stays its owner's to close; else one is made with the other options at first use. */
  sandbox?: Sandbox | undefined;
  /** Of one run; 600 unless named. */
  runSeconds?: number | undefined;
  /** Characters of text that the model is given of one run; 8 000 unless named. */
  limit?: number | undefined;
  /** Which agent, for the notebook. */
  operator?: string | undefined;
  /** `provider:name`, for the notebook. */
  model?: string | undefined;
}

/** What one call knows beside its arguments. */
export interface CallFacts extends Provenance {
  signal?: AbortSignal | undefined;
}

/** Runs what a model asks for, in a sandbox that is made at the first call unless one was given. */
export class CodeTool {
  readonly #options: CodeToolOptions;
  #made: Promise<Sandbox> | undefined;
  #closed = false;

  constructor(options: CodeToolOptions = {}) {
    const { model } = options;
    if (model !== undefined && !/^[^:]+:./.test(model)) {
      const example = "as in openai:gpt-4o";
      throw new InvalidArgumentError(
        `The model ${JSON.stringify(model)} names no provider; write provider:name, ${example}.`,
      );
    }
    this.#options = options;
  }

  /** The sandbox; made now if nothing ran yet. After `close` there is none: nobody would close it. */
  async sandbox(): Promise<Sandbox> {
    if (this.#closed) throw new GoneError(CLOSED, { details: { reason: "closed" } });
    if (this.#options.sandbox) return this.#options.sandbox;
    // Not with the signal of one call: the next ones use it as well.
    this.#made ??= Sandbox.create(this.#options);
    try {
      return await this.#made;
    } catch (error) {
      this.#made = undefined;
      throw error;
    }
  }

  async run(given: unknown, { signal, ...by }: CallFacts = {}): Promise<ToolOutcome> {
    const { limit = DEFAULT_LIMIT, runSeconds = DEFAULT_SECONDS, operator, model } = this.#options;
    const call = codeCall(given);
    if (typeof call === "string") return failed(call);
    let sandbox: Sandbox | undefined;
    try {
      sandbox = await this.sandbox();
      const { code, language } = call;
      const known = { operator, model, ...defined(by) };
      const result = await sandbox.runCode(code, { language, timeoutSeconds: runSeconds, signal, ...known });
      return { ...observe(result, limit), isError: !result.ok, exitCode: result.exitCode };
    } catch (error) {
      if (!(error instanceof PodflareError)) throw error;
      return (await this.#lost(sandbox, error)) ?? failureOutcome(error, limit);
    }
  }

  /** A sandbox of its own that has ended is let go of, and the model is told: the next call makes a new one. */
  async #lost(sandbox: Sandbox | undefined, error: PodflareError): Promise<ToolOutcome | undefined> {
    if (!sandbox || sandbox === this.#options.sandbox) return undefined;
    if (!(error instanceof GoneError || error instanceof NotFoundError)) return undefined;
    const made = this.#made;
    if ((await made?.catch(() => undefined)) === sandbox && this.#made === made) this.#made = undefined;
    return failed(`${error.message} Its variables and files are gone. The next call starts a new sandbox.`);
  }

  /** End the sandbox that was made here; one that was given stays open. Further calls get a sentence. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const made = this.#made;
    this.#made = undefined;
    // One that could not be made is nothing to close; who called was told.
    const sandbox = await made?.catch(() => undefined);
    await sandbox?.close();
  }
}

interface CodeCall {
  readonly code: string;
  readonly language: Language | undefined;
}

/** Read a model's arguments (an object, or its JSON text): the call, or a sentence on what is wrong with it. */
export function codeCall(given: unknown): CodeCall | string {
  let found = given;
  if (typeof given === "string") {
    try {
      found = JSON.parse(given);
    } catch {
      return `The arguments are not JSON. ${USAGE}`;
    }
  }
  if (!isRecord(found)) return `The arguments are ${kindOf(found)}, not an object. ${USAGE}`;
  const fault = faultOf(found);
  if (fault) return `${fault} ${USAGE}`;
  return { code: found["code"] as string, language: (found["language"] ?? undefined) as Language | undefined };
}

function faultOf({ code, language, ...extra }: Record<string, unknown>): string | undefined {
  const names = Object.keys(extra).filter((name) => extra[name] !== null && extra[name] !== undefined);
  if (names.length) return `There is no argument ${shorten(names.map((name) => `'${name}'`).join(", "), SHOWN)}.`;
  if (code === undefined || code === null) return "The argument code is missing.";
  if (typeof code !== "string") return `The argument code is ${kindOf(code)}, not a string.`;
  if (!code.trim()) return "The argument code is empty.";
  if (/\p{Surrogate}/u.test(code)) return "The argument code holds half of a surrogate pair, which is no character.";
  if (language === undefined || language === null) return undefined;
  if (typeof language !== "string") return `The argument language is ${kindOf(language)}, not a string.`;
  if (language !== "python" && language !== "bash") {
    return `The argument language cannot be '${shorten(language, SHOWN)}'.`;
  }
  return undefined;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** What a model is told when the sandbox or the service could not: the sentence, and what helps where we know. */
function failureOutcome(error: PodflareError, limit: number): ToolOutcome {
  const parts = [error.message];
  if (error.retryAfter !== undefined) parts.push(`Try again in ${error.retryAfter} seconds.`);
  else if (error instanceof NotFoundError || error instanceof UnauthenticatedError || error instanceof GoneError) {
    parts.push("Calling the tool again will not help: tell the person.");
  }
  if (error instanceof StreamBrokenError) parts.push(...[error.stdout, error.stderr].filter(Boolean));
  return failed(shorten(parts.join("\n"), limit));
}

export function failed(text: string): ToolOutcome {
  return { text, images: [], isError: true, exitCode: undefined };
}

function defined(by: Provenance): Provenance {
  return Object.fromEntries(Object.entries(by).filter(([, value]) => value !== undefined));
}
