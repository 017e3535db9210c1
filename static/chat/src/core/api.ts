// Calls the service and turns every failure into an ApiError whose message is a sentence for the person.
// Signs writes with the XSRF cookie (Jupyter's login) or everything with a key that the person typed in.
// Knows nothing of the page. Above: conversation, sandbox_list, file_store. Below: wire, ndjson.

import { readLines } from "./ndjson.js";
import type { ChatEvent } from "./wire.js";

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: no answer came
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

// The folder of the service in a URL path: "/user/ann/podflare" of "/user/ann/podflare/", whatever the prefix.
export function baseOfPath(pathname: string): string {
  const at = pathname.lastIndexOf("/podflare");
  return at < 0 ? "/podflare" : pathname.slice(0, at) + "/podflare";
}

export interface RequestOptions {
  json?: unknown;
  signal?: AbortSignal;
}

export class Api {
  private skew = 0; // the service's clock minus ours, milliseconds; to the second

  constructor(
    readonly base: string,
    private readonly cookies: () => string,
    private key: string | null = null,
  ) {}

  // A key that the person entered; the login cookie is enough when there is none.
  useKey(key: string | null): void {
    this.key = key;
  }

  get hasKey(): boolean {
    return this.key !== null;
  }

  // The time at the service: what its events are stamped with.
  now(): number {
    return Date.now() + this.skew;
  }

  url(path: string): string {
    return `${this.base}/v1${path}`;
  }

  headers(method: string): Record<string, string> {
    const headers: Record<string, string> = {};
    if (this.key !== null) headers["Authorization"] = `Bearer ${this.key}`;
    const xsrf = /(?:^|;\s*)_xsrf=([^;]*)/.exec(this.cookies())?.[1];
    if (method !== "GET" && xsrf !== undefined) headers["X-XSRFToken"] = decodeURIComponent(xsrf);
    return headers;
  }

  async request(method: string, path: string, options: RequestOptions = {}): Promise<Response> {
    const headers = this.headers(method);
    const init: RequestInit = { method, headers, credentials: "same-origin", cache: "no-store" };
    if (options.json !== undefined) {
      headers["Content-Type"] = "application/json";
      init.body = JSON.stringify(options.json);
    }
    if (options.signal) init.signal = options.signal;
    let response: Response;
    try {
      response = await fetch(this.url(path), init);
    } catch (reason) {
      if (options.signal?.aborted) throw reason;
      throw new ApiError(0, "unreachable", "The service does not answer. Is it still running, and is the network up?");
    }
    const date = Date.parse(response.headers.get("Date") ?? "");
    if (!Number.isNaN(date)) this.skew = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
    if (!response.ok) throw errorOf(response.status, await response.text().catch(() => ""));
    return response;
  }

  async json<T>(method: string, path: string, options: RequestOptions = {}): Promise<T> {
    const response = await this.request(method, path, options);
    return (await response.json()) as T;
  }

  // The events of a turn or of a terminal, one by one as they arrive. Ends when the connection ends, whole or torn.
  async *events<T = ChatEvent>(method: string, path: string, options: RequestOptions = {}): AsyncGenerator<T> {
    const response = await this.request(method, path, options);
    if (response.body === null) return;
    for await (const line of readLines(response.body)) yield JSON.parse(line) as T;
  }
}

// The service's own sentence where it gave one; else one that fits the status.
export function errorOf(status: number, body: string): ApiError {
  try {
    const answer = JSON.parse(body) as { error?: unknown; message?: unknown; code?: unknown; details?: unknown };
    const sentence = typeof answer.error === "string" ? answer.error : answer.message;
    if (typeof sentence === "string" && sentence !== "") {
      const details = (answer.details ?? {}) as Record<string, unknown>;
      return new ApiError(status, typeof answer.code === "string" ? answer.code : "", sentence, details);
    }
  } catch {
    // Not JSON: a proxy or the login page answered. The status has to do.
  }
  return new ApiError(status, "", sentenceOf(status));
}

function sentenceOf(status: number): string {
  if (status === 401 || status === 403) return "The service does not know you: a key is missing or wrong.";
  if (status === 404) return "There is no such sandbox of yours.";
  if (status === 413) return "That is too large for the service.";
  if (status === 429) return "That is more than your quota allows right now.";
  if (status >= 500) return `The service failed on this request (status ${status}). Its log says why.`;
  return `The service refused this request (status ${status}).`;
}
