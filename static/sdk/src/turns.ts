// What a turn of the chat gave: its cells, its text and how it ended, gathered from the events of its stream.
// No input or output happens here.

import { isRecord } from "./errors.js";
import { errorOf, type ExecutionError, joined, Result } from "./result.js";
import type { CellOutput, CellStart, ChatEvent, Usage } from "./wire.js";

/** One cell of a turn: a message, a piece of code with its outputs, or what the agent said. */
export class TurnCell {
  readonly id: string;
  readonly type: string;
  /** user, tool or assistant. */
  readonly role: string;
  source: string;
  readonly language: string | undefined;
  readonly toolCallId: string | undefined;
  /** nbformat's outputs, as they ended up. */
  outputs: CellOutput[] = [];
  status: string | undefined;
  executionCount: number | undefined;
  exitCode: number | undefined;

  constructor(start: CellStart) {
    this.id = start.cell_id;
    this.type = start.cell_type;
    this.role = start.role;
    this.source = joined(start.source);
    this.language = start.language ?? undefined;
    this.toolCallId = start.tool_call_id ?? undefined;
  }

  get stdout(): string {
    return this.#stream("stdout");
  }

  get stderr(): string {
    return this.#stream("stderr");
  }

  get results(): Result[] {
    return this.outputs.flatMap((output) => {
      if (output.output_type !== "display_data" && output.output_type !== "execute_result") return [];
      const isValue = output.output_type === "execute_result";
      return [new Result(output.data ?? {}, output.metadata ?? {}, isValue, displayIdOf(output))];
    });
  }

  get error(): ExecutionError | undefined {
    const output = this.outputs.find(({ output_type }) => output_type === "error");
    return output && errorOf({ ...output });
  }

  #stream(name: string): string {
    return this.outputs
      .map((output) => (output.output_type === "stream" && output.name === name ? joined(output.text) : ""))
      .join("");
  }
}

/** One message to the agent and all that it did until it answered. */
export interface Turn {
  readonly id: string;
  readonly message: string;
  readonly model: string | undefined;
  /** running, ok, error, cancelled or limit. */
  readonly status: string;
  /** Empty where turns are listed: the notebook has them. */
  readonly cells: readonly TurnCell[];
  /** All that the agent said, as markdown. */
  readonly text: string;
  readonly usage: Usage | undefined;
  /** Why it did not end well: a sentence. */
  readonly error: string | undefined;
  readonly errorCode: string | undefined;
}

type DataOf<Type extends ChatEvent["type"]> = Extract<ChatEvent, { type: Type }>["data"];

/** Reads the events of one turn in order; `turn` tells it so far, and whole once `ended`. */
export class TurnCollector {
  readonly #cells = new Map<string, TurnCell>();
  readonly #clearNext = new Set<string>();
  #start: DataOf<"turn-start"> | undefined;
  #end: DataOf<"turn-end"> | undefined;
  #usage: Usage | undefined;
  #error: DataOf<"turn-error"> | undefined;

  get ended(): boolean {
    return this.#end !== undefined;
  }

  get turn(): Turn {
    const cells = [...this.#cells.values()];
    const said = cells.filter((cell) => cell.role === "assistant" && cell.source).map((cell) => cell.source);
    return {
      id: this.#start?.turn_id ?? this.#end?.turn_id ?? "",
      message: this.#start?.message ?? "",
      model: this.#start?.model,
      status: this.#end?.status ?? "running",
      cells,
      text: said.join("\n\n"),
      usage: this.#end?.usage ?? this.#usage,
      error: this.#error?.message ?? this.#end?.message ?? undefined,
      errorCode: this.#error?.code,
    };
  }

  /** Take the next event. Types that are not known are skipped. */
  add(event: ChatEvent): void {
    if (!isRecord(event.data)) return;
    if (event.type === "turn-start") this.#start = event.data;
    else if (event.type === "usage") this.#usage = event.data;
    else if (event.type === "turn-error") this.#error = event.data;
    else if (event.type === "turn-end") this.#end = event.data;
    else if (event.type === "cell-start") this.#cells.set(event.data.cell_id, new TurnCell(event.data));
    else this.#change(event);
  }

  #change(event: ChatEvent): void {
    const cell = "cell_id" in event.data ? this.#cells.get(String(event.data.cell_id)) : undefined;
    if (!cell) return;
    if (event.type === "text-delta") cell.source += joined(event.data.text);
    else if (event.type === "cell-output" && isRecord(event.data.output)) this.#addOutput(cell, event.data.output);
    else if (event.type === "cell-end") {
      cell.status = event.data.status;
      cell.executionCount = event.data.execution_count ?? undefined;
      cell.exitCode = event.data.exit_code ?? undefined;
    }
  }

  #addOutput(cell: TurnCell, output: CellOutput): void {
    if (output.output_type === "clear_output") {
      if (output.wait) this.#clearNext.add(cell.id);
      else cell.outputs = [];
    } else if (output.output_type === "update_display_data") {
      this.#update(output);
    } else {
      if (this.#clearNext.delete(cell.id)) cell.outputs = [];
      cell.outputs.push(output);
    }
  }

  #update({ data, metadata, ...update }: Extract<CellOutput, { output_type: "update_display_data" }>): void {
    const id = displayIdOf(update);
    if (id === undefined) return;
    for (const cell of this.#cells.values()) {
      cell.outputs = cell.outputs.map((one) =>
        "data" in one && displayIdOf(one) === id ? { ...one, data, metadata } : one,
      );
    }
  }
}

function displayIdOf(output: { readonly transient?: unknown }): string | undefined {
  const id = isRecord(output.transient) ? output.transient["display_id"] : undefined;
  return typeof id === "string" ? id : undefined;
}
