// One sandbox's conversation, live: loads what is recorded, sends messages, follows the running turn and takes it
// up again after a lost connection. Tells the page that something changed; the page reads `transcript`.
// Above: the page. Below: api, transcript.

import { type Api, ApiError } from "./api.js";
import { Transcript } from "./transcript.js";
import type { ChatEvent, Notebook, TurnInfo } from "./wire.js";

export interface SendOptions {
  model?: string;
  approve?: "auto" | "ask";
}

// What the page hears of it.
export interface ConversationEvents {
  changed(): void;
  failed(problem: ApiError): void;
  started(): void; // the service has taken a message
  branched(): void; // the agent forked, merged or closed branches
  ran(): void; // a cell of code has ended
}

export type Wait = (milliseconds: number, signal: AbortSignal) => Promise<void>;

const FIRST_RETRY = 400;
const LONGEST_RETRY = 8000;

export class Conversation {
  readonly transcript = new Transcript();
  sandboxId: string | null = null;
  loading = false;
  lost = false; // the running turn's stream broke and is being taken up again
  problem: ApiError | null = null; // why the notebook could not be loaded
  private aborter = new AbortController();
  private loaded: Promise<void> = Promise.resolve(); // after it, nothing is being read
  private skipWait: () => void = () => undefined;

  constructor(
    private readonly api: Api,
    private readonly heard: ConversationEvents,
    private readonly wait: Wait,
  ) {}

  get running(): boolean {
    return this.transcript.running !== null;
  }

  // Leaves the conversation before; its turn goes on at the service.
  async open(sandboxId: string | null): Promise<void> {
    this.leave();
    this.sandboxId = sandboxId;
    this.problem = null;
    this.transcript.load({ cells: [] }, []);
    this.loading = sandboxId !== null;
    this.heard.changed();
    if (sandboxId !== null) await this.reload();
  }

  leave(): void {
    this.aborter.abort();
    this.aborter = new AbortController();
    this.lost = false;
  }

  // The recorded notebook again (cells may have come from JupyterLab or the API), then the running turn.
  async reload(): Promise<void> {
    const { signal } = this.aborter;
    this.loaded = this.loaded.then(() => this.load(signal));
    await this.loaded;
    const running = this.transcript.running;
    if (running && !signal.aborted) await this.report(this.follow(this.resume(running.id, -1), running.id, signal));
  }

  private async load(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    try {
      const [notebook, turns] = await Promise.all([
        this.api.json<Notebook>("GET", this.path("/notebook"), { signal }),
        this.turns(signal),
      ]);
      if (signal.aborted) return;
      this.transcript.load(notebook, turns);
      this.problem = null;
    } catch (reason) {
      if (signal.aborted) return;
      this.problem = asApiError(reason);
    }
    this.loading = false;
    this.heard.changed();
  }

  // Resolves when the turn has ended; throws where the service did not take the message.
  async send(message: string, options: SendOptions): Promise<void> {
    const { signal } = this.aborter;
    const json = { message, ...options };
    await this.loaded; // a notebook read before the message would replace what the turn's events bring
    if (signal.aborted) throw new ApiError(0, "not_sent", "Another notebook was opened before this message was sent.");
    try {
      await this.follow(this.api.events("POST", this.path("/chat"), { json, signal }), null, signal);
    } catch (reason) {
      if (signal.aborted) return;
      const taken = asApiError(reason).status === 0 ? await this.runningTurn(message, signal) : null;
      if (taken === null) throw asApiError(reason);
      await this.follow(this.resume(taken, -1), taken, signal);
    }
  }

  async cancel(): Promise<void> {
    const turn = this.transcript.running;
    if (turn) await this.api.request("POST", this.path(`/chat/${turn.id}/cancel`));
  }

  async approve(approved: boolean): Promise<void> {
    const turn = this.transcript.running;
    if (!turn?.approval) return;
    const json = { tool_call_id: turn.approval.toolCallId, approved };
    await this.api.request("POST", this.path(`/chat/${turn.id}/approve`), { json });
    turn.approval = null;
    this.heard.changed();
  }

  retryNow(): void {
    this.skipWait();
  }

  private path(rest: string): string {
    return `/sandboxes/${this.sandboxId}${rest}`;
  }

  private async turns(signal: AbortSignal): Promise<TurnInfo[]> {
    try {
      return (await this.api.json<{ turns: TurnInfo[] }>("GET", this.path("/chat"), { signal })).turns;
    } catch (reason) {
      if (reason instanceof ApiError && (reason.status === 404 || reason.status === 410)) return []; // closed: the notebook says it all
      throw reason;
    }
  }

  private resume(turnId: string, after: number): AsyncGenerator<ChatEvent> {
    const query = after < 0 ? "" : `?after=${after}`;
    return this.api.events("GET", this.path(`/chat/${turnId}/events${query}`), { signal: this.aborter.signal });
  }

  // The answer to a POST was lost before its first event: did the service take it?
  private async runningTurn(message: string, signal: AbortSignal): Promise<string | null> {
    try {
      const turns = await this.turns(signal);
      return turns.find((turn) => turn.status === "running" && turn.message === message)?.turn_id ?? null;
    } catch {
      return null; // still unreachable: the first failure is what the person is told
    }
  }

  // Reads the turn to its end over as many connections as it takes; no event is applied twice.
  private async follow(stream: AsyncGenerator<ChatEvent>, turnId: string | null, signal: AbortSignal): Promise<void> {
    let last = -1;
    let retry = FIRST_RETRY;
    let gap = false; // the notebook has cells, at the end, that the events did not bring
    for (;;) {
      let arrived = 0;
      try {
        for await (const event of stream) {
          if (event.type === "turn-start") {
            turnId = String(event.data["turn_id"]);
            this.heard.started();
          }
          if (turnId === null || event.seq <= last) continue;
          last = event.seq;
          arrived += 1;
          this.lost = false;
          retry = FIRST_RETRY;
          this.transcript.apply(turnId, event);
          this.heard.changed();
          gap ||= event.type === "notice" && event.data["code"] === "events_dropped";
          gap ||= event.type === "branch-merge" || event.type === "branch-close"; // what was kept is in the notebook
          if (event.type.startsWith("branch-")) this.heard.branched();
          if (event.type === "cell-end") this.heard.ran();
          if (event.type !== "turn-end") continue;
          if (gap) await this.endedMeanwhile(turnId, signal);
          return;
        }
        if (arrived === 0 && turnId !== null && (await this.endedMeanwhile(turnId, signal))) return;
      } catch (reason) {
        if (signal.aborted) return;
        if (reason instanceof ApiError && reason.status !== 0 && reason.status < 500) throw reason;
        // Anything else is a broken connection: taken up again below.
      }
      if (signal.aborted) return;
      if (turnId === null) throw new ApiError(0, "unreachable", "The connection broke before the service took the message.");
      this.lost = arrived === 0;
      this.heard.changed();
      await Promise.race([this.wait(retry, signal), new Promise<void>((go) => (this.skipWait = go))]);
      if (signal.aborted) return;
      retry = Math.min(retry * 2, LONGEST_RETRY);
      stream = this.resume(turnId, last);
    }
  }

  // A resumed stream that brings nothing: the turn may be over, with its last events gone from the service.
  private async endedMeanwhile(turnId: string, signal: AbortSignal): Promise<boolean> {
    const turns = await this.turns(signal);
    if (turns.find((turn) => turn.turn_id === turnId)?.status === "running") return false;
    this.transcript.load(await this.api.json<Notebook>("GET", this.path("/notebook"), { signal }), turns);
    this.lost = false;
    this.heard.changed();
    return true;
  }

  private async report(work: Promise<void>): Promise<void> {
    try {
      await work;
    } catch (reason) {
      this.heard.failed(asApiError(reason));
    }
  }
}

export function asApiError(reason: unknown): ApiError {
  if (reason instanceof ApiError) return reason;
  return new ApiError(0, "unexpected", `Something went wrong in this page: ${String(reason)}`);
}
