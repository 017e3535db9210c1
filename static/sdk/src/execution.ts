// Running code in a sandbox: the whole result at once, or its events as they come; and what an agent said beside it.

import type { Calls } from "./calls.js";
import type { CallOptions } from "./connection.js";
import { StreamBrokenError, type StreamSoFar } from "./errors.js";
import { type ExecResult, type OutputCallbacks, ResultCollector } from "./result.js";
import type {
  ExecBody,
  ExecEvent,
  InstallBody,
  InstallExitEvent,
  Language,
  ManagerResult,
  RecordBody,
  RecordedCell,
} from "./wire.js";

/** Who runs or says something, for the notebook: each at most 200 characters. */
export interface Provenance {
  turnId?: string | undefined;
  toolCallId?: string | undefined;
  /** Which agent. */
  operator?: string | undefined;
  /** `provider:name`. */
  model?: string | undefined;
}

export interface RunOptions extends Provenance, CallOptions {
  /** python unless named. */
  language?: Language | undefined;
  /** Then the code is interrupted. */
  timeoutSeconds?: number | undefined;
}

/** What came of installing packages: what the package managers said, and how each of them ended, by name. */
export interface InstallResult {
  readonly run: ExecResult;
  readonly managers: Readonly<Record<string, ManagerResult>>;
  readonly ok: boolean;
}

/** The part of a sandbox that runs code. State survives between calls, as in a notebook. */
export class Execution {
  /** @internal */
  readonly calls: Calls;

  protected constructor(calls: Calls) {
    this.calls = calls;
  }

  /**
   * Run code and give what came out of it. Code that fails is a result with `ok` false, not an error.
   *
   * Aborting interrupts the code. Throws StreamBrokenError, with the text so far, when the connection is lost.
   */
  async runCode(code: string, options: RunOptions & OutputCallbacks = {}): Promise<ExecResult> {
    const collector = new ResultCollector(options);
    return collect(this.#run(code, options), collector);
  }

  /**
   * Install packages, of Debian first, then Python's, then npm's: into this sandbox alone, and its forks.
   *
   * What cannot be had is a result with `ok` false, not an error. Each manager's part is a cell of the notebook;
   * `timeoutSeconds` is for each of them.
   */
  async installPackages(
    packages: { python?: string[] | undefined; apt?: string[] | undefined; npm?: string[] | undefined },
    options: CallOptions & Omit<OutputCallbacks, "onResult"> & { timeoutSeconds?: number | undefined } = {},
  ): Promise<InstallResult> {
    const body: InstallBody = { ...packages, timeout_seconds: options.timeoutSeconds };
    const collector = new ResultCollector(options);
    const run = await collect(this.#batches("/packages", body, options), collector);
    const managers = (collector.exit as InstallExitEvent).managers ?? {};
    return { run, managers, ok: Object.values(managers).every((manager) => manager.status === "ok") };
  }

  /** Run code and give its events as they come; the last is `exit`. Leaving the loop interrupts the code. */
  async *stream(code: string, options: RunOptions = {}): AsyncGenerator<ExecEvent, void, undefined> {
    for await (const events of this.#run(code, options)) yield* events;
  }

  #run(code: string, options: RunOptions): AsyncGenerator<ExecEvent[], void, undefined> {
    const body: ExecBody = {
      code,
      language: options.language,
      timeout_seconds: options.timeoutSeconds,
      turn_id: options.turnId,
      tool_call_id: options.toolCallId,
      operator: options.operator,
      model: options.model,
    };
    return this.#batches("/exec", body, options);
  }

  /** The events of a run, those that come together together. Ends with an exit, or throws StreamBrokenError. */
  async *#batches(
    path: string,
    body: ExecBody | InstallBody,
    { signal }: CallOptions,
  ): AsyncGenerator<ExecEvent[], void, undefined> {
    let eventsReceived = 0;
    let last: ExecEvent | undefined;
    const broken = (why: string, known: StreamSoFar) => {
      const running = known.mayStillRun === false ? "it runs no more" : "it may still run";
      const sentence = `${why} ${eventsReceived} events had come; how the code ended is not known, ${running}.`;
      return new StreamBrokenError(sentence, {
        eventsReceived,
        lastSeq: last?.seq,
        sandboxId: this.calls.id,
        ...known,
      });
    };
    try {
      for await (const events of this.calls.batches<ExecEvent>("POST", path, { body, signal })) {
        const failure = (events.at(-1)?.seq ?? 0) < 0 ? events.pop() : undefined;
        last = events.at(-1) ?? last;
        eventsReceived += events.length;
        yield events;
        if (failure) throw broken(toldIn(failure), { mayStillRun: false });
      }
    } catch (error) {
      if (!(error instanceof StreamBrokenError) || error.sandboxId !== undefined) throw error;
      // Behind an exit nothing is missing.
      if (last?.type !== "exit") throw broken(error.message, { cause: error });
    }
    if (last?.type !== "exit") throw broken("The stream ended without an exit.", { mayStillRun: false });
  }

  /** The last events (1000 at most) of what ran in this sandbox. */
  async replay({ signal }: CallOptions = {}): Promise<ExecEvent[]> {
    const events: ExecEvent[] = [];
    for await (const event of this.calls.events<ExecEvent>("GET", "/replay", { signal })) events.push(event);
    return events;
  }

  /** Stop the code that runs now, as Ctrl-C does. Does nothing when none runs. */
  async interrupt({ signal }: CallOptions = {}): Promise<void> {
    await this.calls.call("POST", "/interrupt", { body: {}, signal });
  }

  /** Write what an outside agent or its person said into the notebook; gives the id of its cell. */
  async record(
    message: string,
    {
      role,
      turnId,
      operator,
      model,
      signal,
    }: Omit<Provenance, "toolCallId"> & CallOptions & { role?: "assistant" | "user" } = {},
  ): Promise<string> {
    const body: RecordBody = { message, role, turn_id: turnId, operator, model };
    return (await this.calls.call<RecordedCell>("POST", "/record", { body, signal })).cell_id;
  }
}

/** Read a run to its end; what came of it before a connection was lost is in the error. */
async function collect(
  batches: AsyncGenerator<ExecEvent[], void, undefined>,
  collector: ResultCollector,
): Promise<ExecResult> {
  try {
    for await (const events of batches) for (const event of events) collector.add(event);
  } catch (error) {
    if (error instanceof StreamBrokenError) {
      [error.stdout, error.stderr, error.results] = [collector.stdout, collector.stderr, collector.results];
    }
    throw error;
  }
  return collector.result as ExecResult; // the batches end with an exit, or throw
}

/** What the service said of its own failure in the middle of a stream. */
function toldIn(event: ExecEvent): string {
  const said = event.type === "error" && "message" in event.data ? event.data.message : undefined;
  return said ?? "The service failed in the middle of the stream.";
}
