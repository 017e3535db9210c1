// What can go wrong in a call, as one flat tree: the server's sentence, its code, and what the caller can do.
// Mirrors the Python client's tree name by name. Stands on nothing of the package.

import type { Result } from "./result.js";

export interface ErrorFacts {
  /** The HTTP status; undefined where none came. */
  status?: number | undefined;
  details?: Readonly<Record<string, unknown>> | undefined;
  cause?: unknown;
}

/** Base of all. `message` is a sentence that says what to do. */
export class PodflareError extends Error {
  static readonly code: string = "internal";
  readonly status: number | undefined;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.status = facts.status;
    this.details = facts.details ?? {};
  }

  /** The machine's word for it, as in the server's answers. */
  get code(): string {
    return (this.constructor as typeof PodflareError).code;
  }

  /** Seconds after which the service wants to be asked again; undefined where it named none. */
  get retryAfter(): number | undefined {
    const value = this.details["retry_after"];
    return typeof value === "number" ? value : undefined;
  }
}

/** The request itself is wrong; repeating it cannot help. */
export class InvalidArgumentError extends PodflareError {
  static override readonly code = "invalid_argument";
}

/** No key, or one that the service does not know. */
export class UnauthenticatedError extends PodflareError {
  static override readonly code = "unauthenticated";
}

/** The key is known, but may not do this. */
export class ForbiddenError extends PodflareError {
  static override readonly code = "forbidden";
}

/** No such thing of yours. */
export class NotFoundError extends PodflareError {
  static override readonly code: string = "not_found";
}

/** The sandbox was merged: `mergedInto` is its state now. Its notebook can still be read. */
export class MergedError extends NotFoundError {
  static override readonly code = "merged";

  get mergedInto(): string | undefined {
    return text(this.details["merged_into"]);
  }
}

/** The state of the thing does not allow it now (busy, closing, running). */
export class ConflictError extends PodflareError {
  static override readonly code = "conflict";
}

/** It existed and has ended. */
export class GoneError extends PodflareError {
  static override readonly code = "gone";

  /** Why it ended: closed, idle_timeout, lifetime, merged, oom, crashed or shutdown. */
  get reason(): string | undefined {
    return text(this.details["reason"]);
  }
}

/** Over a limit that the message names. */
export class TooLargeError extends PodflareError {
  static override readonly code = "too_large";
}

/** The quota is used up; `retryAfter` tells when to ask again. */
export class QuotaExceededError extends PodflareError {
  static override readonly code = "quota_exceeded";
}

/** The service cannot do it now; `retryAfter` tells when to ask again, where it knows. */
export class NoCapacityError extends PodflareError {
  static override readonly code = "no_capacity";
}

/** The service cannot isolate a sandbox as it was asked to. */
export class IsolationError extends PodflareError {
  static override readonly code = "isolation";
}

/** Nobody answers at the URL; nothing was sent, so nothing happened. */
export class ServiceUnreachableError extends PodflareError {
  static override readonly code = "unreachable";
}

/** The connection ended before the answer was complete: whether the request took effect is unknown. */
export class ConnectionLostError extends PodflareError {
  static override readonly code: string = "connection_lost";
}

/** The service is there and did not answer in time: whether the request took effect is unknown. */
export class TimedOutError extends ConnectionLostError {
  static override readonly code = "timed_out";
}

/** What is known of work whose stream was cut. */
export interface StreamSoFar {
  /** How many events came. */
  eventsReceived?: number;
  /** The last event's number; undefined: none came. */
  lastSeq?: number | undefined;
  /** False: the service itself said that it failed. */
  mayStillRun?: boolean;
  sandboxId?: string | undefined;
  cause?: unknown;
}

/** A stream ended before its last event: how the work ended is unknown. */
export class StreamBrokenError extends ConnectionLostError {
  static override readonly code = "stream_broken";
  readonly eventsReceived: number;
  readonly lastSeq: number | undefined;
  /** Whether the service had not ended the work: it interrupts code whose client has gone when it notices. */
  readonly mayStillRun: boolean;
  /** Where: `replay()` gives the events that the service still has. */
  readonly sandboxId: string | undefined;
  /** What came so far, where the call collects it. */
  stdout = "";
  stderr = "";
  results: readonly Result[] = [];

  constructor(message: string, known: StreamSoFar = {}) {
    super(message, { cause: known.cause });
    this.eventsReceived = known.eventsReceived ?? 0;
    this.lastSeq = known.lastSeq;
    this.mayStillRun = known.mayStillRun ?? true;
    this.sandboxId = known.sandboxId;
  }
}

/** What answers at the URL does not speak this service's protocol. */
export class UnexpectedAnswerError extends PodflareError {
  static override readonly code = "unexpected_answer";
}

/** The code in the sandbox failed; thrown only by `throwForError`. */
export class CodeError extends PodflareError {
  static override readonly code = "code_failed";
}

const BY_CODE = new Map<string, typeof PodflareError>(
  [
    InvalidArgumentError,
    UnauthenticatedError,
    ForbiddenError,
    NotFoundError,
    MergedError,
    ConflictError,
    GoneError,
    TooLargeError,
    QuotaExceededError,
    NoCapacityError,
    IsolationError,
  ].map((kind) => [kind.code, kind]),
);

const BY_STATUS: Readonly<Record<number, typeof PodflareError>> = {
  400: InvalidArgumentError,
  401: UnauthenticatedError,
  403: ForbiddenError,
  404: NotFoundError,
  409: ConflictError,
  410: GoneError,
  413: TooLargeError,
  429: QuotaExceededError,
  503: NoCapacityError,
};

/** Turn a refusal into its error. `answer` is the decoded JSON body, undefined where it was not JSON. */
export function errorOfAnswer(status: number, answer: unknown, url: string, retryAfter?: number): PodflareError {
  if (!isRecord(answer) || typeof answer["error"] !== "string") {
    return new UnexpectedAnswerError(
      `${url} answered ${status}, but not as podflare_nb does. Is the host right? It usually ends with /podflare, ` +
        "as in http://127.0.0.1:8888/podflare.",
      { status, details: retryAfter === undefined ? {} : { retry_after: retryAfter } },
    );
  }
  const Kind = BY_CODE.get(String(answer["code"])) ?? BY_STATUS[status] ?? PodflareError;
  const given = isRecord(answer["details"]) ? answer["details"] : {};
  const details = retryAfter === undefined ? given : { retry_after: retryAfter, ...given };
  return new Kind(answer["error"], { status, details });
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
