// When a failed call may be made again, and after how long: a pure decision.
//
// What is repeated cannot happen twice: a call of which nothing was sent; one that the service refused with the word to
// come again (429 or 503, Retry-After); one that means the same when it is said twice: a read, and what carries an
// idempotency key. Code whose answer was cut is never run again.

/** Nothing was sent; sent, but no whole answer came, or none in time; refused for now (429, 503); refused. */
export type Failure = "not_sent" | "cut" | "slow" | "refused_now" | "refused";

export const DEFAULT_RETRIES = 2;
const LONGEST_PAUSE_SECONDS = 10;
const FIRST_PAUSE_SECONDS = 0.05;

/**
 * Seconds to wait before the next attempt; undefined: do not repeat. `attempt` counts from 1.
 *
 * A Retry-After that is longer than ten seconds is the caller's to wait for, not a call's.
 */
export function pauseBeforeRetry(
  failure: Failure,
  attempt: number,
  { repeatable, retries, retryAfter }: { repeatable: boolean; retries: number; retryAfter: number | undefined },
): number | undefined {
  // A service that is slow is not helped by being asked again.
  if (attempt > retries || failure === "refused" || failure === "slow") return undefined;
  if (failure === "cut" && !repeatable) return undefined;
  // Without a Retry-After it may be a proxy's word, behind which something happened.
  if (failure === "refused_now" && !repeatable && retryAfter === undefined) return undefined;
  const pause = retryAfter === undefined ? FIRST_PAUSE_SECONDS * 4 ** (attempt - 1) : Math.max(0, retryAfter);
  return pause <= LONGEST_PAUSE_SECONDS ? pause : undefined;
}

/** A Retry-After: seconds, or the date that proxies may give. `now`: milliseconds since the epoch. */
export function secondsUntil(told: string, now: number): number | undefined {
  if (/^\d+$/.test(told)) return Number(told);
  const date = told.endsWith("GMT") ? Date.parse(told) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, (date - now) / 1000);
}

export function failureOfStatus(status: number): Failure {
  return status === 429 || status === 503 ? "refused_now" : "refused";
}
