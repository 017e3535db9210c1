// Requests to one service and their answers: JSON, streams of lines and raw bytes, with errors in our terms.
//
// Knows HTTP and nothing of sandboxes. Stands on fetch, which keeps connections open and shares them. Repeats only
// what `retry` calls safe; follows no redirect, since that would send the key to another place.

import { type Endpoint, isLoopback, locate } from "./endpoint.js";
import {
  ConnectionLostError,
  errorOfAnswer,
  PodflareError,
  ServiceUnreachableError,
  StreamBrokenError,
  TimedOutError,
  UnauthenticatedError,
  UnexpectedAnswerError,
} from "./errors.js";
import { LineSplitter } from "./lines.js";
import { DEFAULT_RETRIES, type Failure, failureOfStatus, pauseBeforeRetry, secondsUntil } from "./retry.js";
import { untimed } from "./untimed.js";

const PATIENCE_SECONDS = 120;

/** Which service, and how to call it. */
export interface ConnectionOptions {
  /** `http://127.0.0.1:8888/podflare`; else PODFLARE_NB_URL, PODFLARE_HOST, else the service on this machine. */
  host?: string | undefined;
  /** Else PODFLARE_NB_API_KEY, PODFLARE_API_KEY, else the key file of the service on this machine. */
  apiKey?: string | undefined;
  /** How often a call that may be repeated is repeated; 2 unless named, 0: never. */
  retries?: number | undefined;
  /** Another fetch than the runtime's. */
  fetch?: typeof fetch | undefined;
}

/** What every call takes. Aborting throws the signal's reason. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

export interface Request extends CallOptions {
  /** Sent as JSON; fields that are undefined stay away. */
  body?: Readonly<Record<string, unknown>> | undefined;
  content?: RequestInit["body"] | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
  params?: Readonly<Record<string, string | number>> | undefined;
  /** How long the service itself may wait before it begins. */
  waitSeconds?: number | undefined;
  /** Gives a call that makes something a key of its own, for which the service does it once: it may be repeated. */
  keyed?: boolean | undefined;
  /** Whether it means the same when it is said twice; reads do, and what is keyed does. */
  repeatable?: boolean | undefined;
  /** Without the runtime's own limit on silence: whoever asks has a deadline, or waits for code. */
  mayBeSilent?: boolean | undefined;
}

/** One service and one key. */
export class Connection {
  readonly endpoint: Endpoint;
  readonly #retries: number;
  readonly #fetch: typeof fetch;
  readonly #headers: Readonly<Record<string, string>>;

  constructor({ host, apiKey, retries = DEFAULT_RETRIES, fetch: given }: ConnectionOptions = {}) {
    this.endpoint = locate(host, apiKey);
    this.#retries = retries;
    this.#fetch = given ?? ((url, init) => fetch(url, init));
    this.#headers = this.endpoint.apiKey ? { Authorization: `Bearer ${this.endpoint.apiKey}` } : {};
  }

  /** Send JSON and give the JSON of the answer, undefined for an empty one, within two minutes. */
  async call<T = unknown>(method: string, path: string, request: Request = {}): Promise<T> {
    const patience = new Patience(PATIENCE_SECONDS + (request.waitSeconds ?? 0), request.signal);
    try {
      return await this.send<T>(method, path, { ...request, signal: patience.signal, mayBeSilent: true });
    } catch (error) {
      throw patience.explain(error, this.endpoint.url);
    } finally {
      patience.end();
    }
  }

  /** The same for what may be large: it takes as long as it takes. */
  async send<T = unknown>(method: string, path: string, request: Request = {}): Promise<T> {
    const response = await this.open(method, path, request);
    const text = await this.#whole(response, request.signal, (body) => body.text());
    return (text ? this.#json(text, response) : undefined) as T;
  }

  /** Give the raw bytes of an answer. */
  async content(method: string, path: string, request: Request = {}): Promise<Uint8Array> {
    const response = await this.open(method, path, request);
    return new Uint8Array(await this.#whole(response, request.signal, (body) => body.arrayBuffer()));
  }

  /** Give the lines of a stream as they come, those of a chunk together; leaving the loop ends the stream. */
  async *lines(method: string, path: string, request: Request = {}): AsyncGenerator<string[], void, undefined> {
    const response = await this.open(method, path, { ...request, mayBeSilent: true });
    const reader = response.body?.getReader();
    const splitter = new LineSplitter();
    try {
      for (;;) {
        const piece = await reader?.read();
        if (!piece || piece.done) break;
        yield splitter.feed(piece.value);
      }
    } catch (error) {
      request.signal?.throwIfAborted();
      throw new StreamBrokenError(`The connection to ${this.endpoint.url} was lost in the middle of a stream.`, {
        cause: error,
      });
    } finally {
      // A stream that failed has nothing left to cancel.
      await reader?.cancel().catch(() => undefined);
    }
    if (splitter.rest().trim())
      throw new StreamBrokenError(`The stream from ${this.endpoint.url} ended inside an event.`);
  }

  /** Send, and give the answer with its body unread. Throws on a refusal. */
  async open(method: string, path: string, request: Request = {}): Promise<Response> {
    const [url, init] = this.#prepared(method, path, request);
    // A body that is a stream can be sent once.
    const retries = init.body instanceof ReadableStream ? 0 : this.#retries;
    const repeatable = request.repeatable ?? (method === "GET" || method === "HEAD" || request.keyed === true);
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(url, init);
      if (outcome instanceof Response) return outcome;
      const { failure, error } = outcome;
      const pause = pauseBeforeRetry(failure, attempt, { repeatable, retries, retryAfter: error.retryAfter });
      if (pause === undefined) throw error;
      await sleep(pause, request.signal);
    }
  }

  #prepared(method: string, path: string, request: Request): [string, RequestInit] {
    const headers: Record<string, string> = { ...this.#headers, ...request.headers };
    let body = request.content ?? undefined;
    if (request.body !== undefined) {
      body = JSON.stringify(request.body);
      headers["Content-Type"] = "application/json";
    }
    if (request.keyed) headers["Idempotency-Key"] = crypto.randomUUID();
    const query = request.params
      ? `?${new URLSearchParams(Object.entries(request.params).map(([k, v]) => [k, `${v}`]))}`
      : "";
    const init: RequestInit = { method, headers, redirect: "manual", cache: "no-store", credentials: "omit" };
    if (request.mayBeSilent) Object.assign(init, untimed());
    if (body !== undefined) init.body = body;
    if (body instanceof ReadableStream) (init as { duplex?: "half" }).duplex = "half";
    if (request.signal) init.signal = request.signal;
    return [this.endpoint.url + path + query, init];
  }

  /** Send once: the answer, or how it failed and the error that this is. */
  async #attempt(url: string, init: RequestInit): Promise<Response | { failure: Failure; error: PodflareError }> {
    let response: Response;
    try {
      response = await this.#fetch(url, init);
    } catch (error) {
      init.signal?.throwIfAborted();
      return wasNotSent(error)
        ? { failure: "not_sent", error: this.#unreachable(error) }
        : { failure: "cut", error: this.#lost(error) };
    }
    if (response.ok) return response;
    try {
      return { failure: failureOfStatus(response.status), error: await this.#refusal(url, response, init.signal) };
    } catch (error) {
      if (error instanceof ConnectionLostError) return { failure: "cut", error };
      throw error;
    }
  }

  async #whole<T>(
    response: Response,
    signal: AbortSignal | null | undefined,
    read: (response: Response) => Promise<T>,
  ): Promise<T> {
    try {
      return await read(response);
    } catch (error) {
      signal?.throwIfAborted();
      throw this.#lost(error);
    }
  }

  #json(text: string, response: Response): unknown {
    try {
      return JSON.parse(text);
    } catch {
      throw new UnexpectedAnswerError(
        `${response.url} answered ${response.status} with something that is not JSON. Is the host right? It usually ` +
          "ends with /podflare.",
        { status: response.status },
      );
    }
  }

  /** Read a refusal. One for the key's sake also says where the key came from. */
  async #refusal(url: string, response: Response, signal: AbortSignal | null | undefined): Promise<PodflareError> {
    const [place = url] = url.split("?");
    if (response.type === "opaqueredirect" || (response.status >= 300 && response.status < 400)) {
      await response.body?.cancel();
      const message = `${place} answers with a redirect, which is not followed: your key would go with it. Name the `;
      return new UnexpectedAnswerError(`${message}service's own address as host.`, { status: response.status });
    }
    const text = await this.#whole(response, signal, (body) => body.text());
    let answer: unknown;
    try {
      answer = JSON.parse(text);
    } catch {
      answer = undefined;
    }
    const retryAfter = secondsUntil(response.headers.get("Retry-After") ?? "", Date.now());
    const error = errorOfAnswer(response.status, answer, place, retryAfter);
    if (!(error instanceof UnauthenticatedError)) return error;
    const message = `${error.message} (The key was taken from ${this.endpoint.keySource}.)`;
    return new UnauthenticatedError(message, { status: error.status, details: error.details });
  }

  #unreachable(cause: unknown): ServiceUnreachableError {
    const advice = isLoopback(this.endpoint.url)
      ? "Start the service with `make run` or `podflare-nb serve`"
      : "Check the URL";
    return new ServiceUnreachableError(
      `Nothing answers at ${this.endpoint.url} (${said(cause)}). ${advice}, or name another service with the option ` +
        "host or PODFLARE_NB_URL.",
      { cause },
    );
  }

  #lost(cause: unknown): ConnectionLostError {
    return new ConnectionLostError(
      `The connection to ${this.endpoint.url} was lost before the answer came (${said(cause)}); whether the request ` +
        "took effect is not known.",
      { cause },
    );
  }
}

/** A call's deadline beside its caller's signal, as one signal; `end` lets go of both. */
class Patience {
  readonly #controller = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #seconds: number;
  readonly #given: AbortSignal | undefined;
  readonly #passOn = () => this.#controller.abort(this.#given?.reason);
  #over = false;

  constructor(seconds: number, given: AbortSignal | undefined) {
    given?.throwIfAborted();
    this.#seconds = seconds;
    this.#given = given;
    this.#timer = setTimeout(() => {
      this.#over = true;
      this.#controller.abort();
    }, seconds * 1000);
    given?.addEventListener("abort", this.#passOn, { once: true });
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The error to throw: ours when it was the deadline. */
  explain(error: unknown, url: string): unknown {
    if (!this.#over) return error;
    return new TimedOutError(
      `${url} did not answer within ${this.#seconds} seconds; whether the request took effect is not known.`,
    );
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#given?.removeEventListener("abort", this.#passOn);
  }
}

/** Wait, unless the signal says that nobody does any more: then its reason is thrown. */
export function sleep(seconds: number, signal?: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

const NOT_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
  "FailedToOpenSocket",
]);

/** Whether no connection came about. A browser does not tell: then it counts as not known. */
function wasNotSent(error: unknown): boolean {
  return causes(error).some(
    ({ code, message }) => NOT_SENT.has(String(code)) || /connection refused/i.test(String(message)),
  );
}

function said(error: unknown): string {
  const all = causes(error);
  const told = all.map(({ code, message }) => message || code).filter(Boolean);
  return String(told.at(-1) ?? error);
}

interface Cause {
  readonly code?: unknown;
  readonly message?: unknown;
  readonly cause?: unknown;
  readonly errors?: readonly Cause[];
}

/** An error and what it was caused by, the deepest last; of several addresses that were tried, each. */
function causes(error: unknown): Cause[] {
  const found: Cause[] = [];
  for (let at = error as Cause | undefined; at && found.length < 8; at = at.cause as Cause | undefined) {
    found.push(at, ...(at.errors ?? []));
  }
  return found;
}
