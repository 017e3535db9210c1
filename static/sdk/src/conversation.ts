// Talking to the agent of a sandbox: a turn's events as they come, taken up again when the connection is lost, and
// the turn as a whole.

import type { Calls } from "./calls.js";
import { type CallOptions, sleep } from "./connection.js";
import { ConnectionLostError, ServiceUnreachableError, StreamBrokenError } from "./errors.js";
import { type Turn, TurnCollector } from "./turns.js";
import { Execution } from "./execution.js";
import type { ChatBody, ChatEvent, TurnInfo } from "./wire.js";

/** How often in a row a turn's stream is asked for again without a new event coming. */
const RESUMES = 8;
const LONGEST_PAUSE_SECONDS = 5;

export interface ChatOptions extends CallOptions {
  /** `provider:name`, or `direct`; the service's default unless named. */
  model?: string | undefined;
  maxSteps?: number | undefined;
  maxTokens?: number | undefined;
  timeoutSeconds?: number | undefined;
  /** Asked before each run of code, with its source and language: true lets it run. */
  onApproval?: ((request: Readonly<ApprovalAsked>) => boolean | Promise<boolean>) | undefined;
}

type ApprovalAsked = Extract<ChatEvent, { type: "approval-request" }>["data"];

/**
 * A turn that is under way. Loop over it for its events, each exactly once, the last is `turn-end`; `final()` gives
 * the whole turn, and reads what nobody has read so far. Leaving the loop does not stop the turn: `cancel` does.
 */
export class ChatTurn implements AsyncIterable<ChatEvent> {
  readonly #collector = new TurnCollector();
  readonly #events: AsyncGenerator<ChatEvent, void, undefined>;

  constructor(calls: Calls, message: string, options: ChatOptions) {
    this.#events = this.#observed(calls, begin(calls, message, options), options);
  }

  /** The turn as far as its events were read. */
  get turn(): Turn {
    return this.#collector.turn;
  }

  [Symbol.asyncIterator](): AsyncGenerator<ChatEvent, void, undefined> {
    return this.#events;
  }

  /** Read to the end. A turn that ends badly (`status`, `error`) is a result and not an error. */
  async final(): Promise<Turn> {
    for await (const _ of this.#events);
    return this.turn;
  }

  async *#observed(calls: Calls, events: AsyncIterable<ChatEvent>, { onApproval, signal }: ChatOptions) {
    for await (const event of events) {
      this.#collector.add(event);
      yield event;
      if (event.type === "approval-request" && onApproval) {
        const approved = await onApproval(event.data);
        await approve(calls, this.turn.id, event.data.tool_call_id, approved, { signal });
      }
    }
  }
}

/** The part of a sandbox that talks. Every turn becomes cells of the sandbox's notebook. */
export class Conversation extends Execution {
  /** Send a message to the agent and let it work here: loop over the turn's events, or take its `final()`. */
  chat(message: string, options: ChatOptions = {}): ChatTurn {
    return new ChatTurn(this.calls, message, options);
  }

  /** The events of a turn whose seq is above `after`: the past ones, then live ones to its end. */
  follow(
    turnId: string,
    { after = -1, signal }: CallOptions & { after?: number } = {},
  ): AsyncGenerator<ChatEvent, void, undefined> {
    return follow(this.calls, turnId, after, { signal });
  }

  /** The turns of this sandbox, oldest first; their cells are in the notebook. */
  async turns({ signal }: CallOptions = {}): Promise<TurnInfo[]> {
    return (await this.calls.call<{ turns: TurnInfo[] }>("GET", "/chat", { signal })).turns;
  }

  /** Stop a turn: the agent, and the code that it runs. */
  async cancel(turnId: string, { signal }: CallOptions = {}): Promise<void> {
    await this.calls.call("POST", `/chat/${encodeURIComponent(turnId)}/cancel`, { body: {}, signal });
  }

  /** Answer an `approval-request`: let the code run, or not. */
  async approve(turnId: string, toolCallId: string, approved = true, options: CallOptions = {}): Promise<void> {
    await approve(this.calls, turnId, toolCallId, approved, options);
  }
}

async function approve(calls: Calls, turnId: string, toolCallId: string, approved: boolean, options: CallOptions = {}) {
  const body = { tool_call_id: toolCallId, approved };
  await calls.call("POST", `/chat/${encodeURIComponent(turnId)}/approve`, { body, signal: options.signal });
}

async function* begin(calls: Calls, message: string, options: ChatOptions): AsyncGenerator<ChatEvent, void, undefined> {
  const { signal } = options;
  const body: ChatBody = {
    message,
    model: options.model,
    max_steps: options.maxSteps,
    max_tokens: options.maxTokens,
    timeout_seconds: options.timeoutSeconds,
    approve: options.onApproval ? "ask" : undefined,
  };
  let turnId: string | undefined;
  let seq = -1;
  let why = "The stream of the turn ended before its first event; whether the turn runs, turns() tells.";
  try {
    for await (const event of calls.events<ChatEvent>("POST", "/chat", { body, signal })) {
      if (event.type === "turn-start") turnId = event.data.turn_id;
      seq = event.seq;
      yield event;
      if (event.type === "turn-end") return;
    }
  } catch (error) {
    if (!(error instanceof StreamBrokenError)) throw error;
    why = error.message;
  }
  if (turnId === undefined) throw new StreamBrokenError(why);
  yield* follow(calls, turnId, seq, { signal });
}

/** The events of a turn whose seq is above `after`: the past ones, then live ones to its end. */
async function* follow(
  calls: Calls,
  turnId: string,
  after: number,
  { signal }: CallOptions,
): AsyncGenerator<ChatEvent, void, undefined> {
  const path = `/chat/${encodeURIComponent(turnId)}/events`;
  let seq = after;
  let received = 0;
  let failures = 0;
  for (;;) {
    let why = "its stream ended without a turn-end.";
    try {
      for await (const event of calls.events<ChatEvent>("GET", path, { params: { after: seq }, signal })) {
        [seq, failures] = [event.seq, 0];
        received++;
        yield event;
        if (event.type === "turn-end") return;
      }
    } catch (error) {
      if (!(error instanceof ConnectionLostError || error instanceof ServiceUnreachableError)) throw error;
      why = error.message;
    }
    if (++failures > RESUMES) {
      throw new StreamBrokenError(
        `The turn ${turnId} could not be followed any more: ${why} It may still run; follow() takes it up again.`,
        { eventsReceived: received, lastSeq: seq >= 0 ? seq : undefined },
      );
    }
    await sleep(Math.min(0.05 * 2 ** failures, LONGEST_PAUSE_SECONDS), signal);
  }
}
