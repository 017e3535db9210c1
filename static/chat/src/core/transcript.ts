// The conversation as data: cells in order, turns by id, and how the notebook and a turn's events make them.
// No page, no network. Applying the same events again gives the same cells, so a replay from seq 0 is safe.
// Above: conversation. Below: outputs, wire.

import { CellOutputs, textOf } from "./outputs.js";
import type {
  CellRole, CellStatus, ChatEvent, Notebook, NotebookCell, Output, RichOutput, TurnInfo, TurnStatus, Usage,
} from "./wire.js";

export interface Cell {
  id: string;
  kind: "markdown" | "code" | "raw";
  role: CellRole;
  source: string;
  language: string;
  executionCount: number | null;
  status: CellStatus;
  outputs: CellOutputs;
  notices: string[]; // sentences about the run: output left out, the kernel replaced
  turnId: string | null;
  operator: string | null;
  branch: Branch | null; // where it ran, when not in the sandbox itself
  supersededBy: Branch | null; // what was merged since, whose state has nothing of it
  startedAt: number | null; // milliseconds since the epoch
  endedAt: number | null;
}

// A live one has the agent's short name; one that was merged is known by its sandbox.
export interface Branch {
  name: string | null;
  sandboxId: string;
}

export interface Approval {
  branch: Branch | null;
  toolCallId: string;
  source: string;
  language: string;
}

export interface Turn {
  id: string;
  status: TurnStatus;
  message: string;
  model: string | null;
  startedAt: number | null;
  endedAt: number | null;
  usage: Usage | null;
  problem: string | null; // the sentence of turn-error, or of a turn-end that carries one
  approval: Approval | null;
}

export class Transcript {
  readonly cells: Cell[] = [];
  readonly turns = new Map<string, Turn>();
  private byId = new Map<string, Cell>();

  // Everything anew from the recorded notebook; a cell that says what it said before stays the same object, so that its
  // view stays as it is. Cells of a turn that still runs are left out: its events,
  // replayed from the first, bring them whole. So are those that tell how a turn ended, which the turn itself does.
  load(notebook: Notebook, turns: TurnInfo[]): void {
    const before = this.byId;
    this.byId = new Map();
    this.cells.length = 0;
    this.turns.clear();
    for (const info of turns) this.turns.set(info.turn_id, turnOf(info));
    notebook.cells.forEach((raw, index) => {
      const recorded = cellOf(raw, index);
      const known = before.get(recorded.id);
      const cell = known !== undefined && same(known, recorded) ? known : recorded;
      const turn = cell.turnId === null ? undefined : this.turns.get(cell.turnId);
      if (turn === undefined || (turn.status !== "running" && !raw.metadata?.podflare_nb?.notice)) this.put(cell);
    });
  }

  get running(): Turn | null {
    for (const turn of this.turns.values()) if (turn.status === "running") return turn;
    return null;
  }

  // The cell that changed, where it was one.
  apply(turnId: string, event: ChatEvent): Cell | null {
    const turn = this.turn(turnId, event.ts);
    const data = event.data;
    switch (event.type) {
      case "turn-start":
        turn.message = text(data["message"]);
        turn.model = text(data["model"]) || null;
        turn.startedAt = event.ts;
        return null;
      case "cell-start":
        return this.startCell(turn, event);
      case "text-delta":
        return this.change(data, (cell) => (cell.source += text(data["text"])));
      case "cell-output":
        return this.change(data, (cell) => this.addOutput(cell, data["output"] as Output));
      case "cell-end":
        return this.change(data, (cell) => endCell(cell, event));
      case "notice":
        return this.change(data, (cell) => cell.notices.push(text(data["message"])));
      case "approval-request":
        turn.approval = {
          branch: branchOf(data["branch"]), toolCallId: text(data["tool_call_id"]), source: text(data["source"]), language: text(data["language"]) || "python",
        };
        return null;
      case "approval-end":
        turn.approval = null;
        return null;
      case "usage":
        turn.usage = data as Usage;
        return null;
      case "turn-error":
        turn.problem = text(data["message"]);
        return null;
      case "turn-end":
        this.endTurn(turn, event);
        return null;
      default:
        return null;
    }
  }

  private turn(id: string, ts: number): Turn {
    let turn = this.turns.get(id);
    if (turn === undefined) {
      turn = turnOf({ turn_id: id, status: "running", message: "", model: null, started_at: null, ended_at: null, usage: null });
      turn.startedAt = ts;
      this.turns.set(id, turn);
    }
    return turn;
  }

  private startCell(turn: Turn, event: ChatEvent): Cell {
    const data = event.data;
    const source = text(data["source"]);
    turn.approval = null;
    const cell: Cell = {
      id: text(data["cell_id"]),
      kind: data["cell_type"] === "markdown" ? "markdown" : "code",
      role: (text(data["role"]) || "tool") as CellRole,
      ...split(source, text(data["language"])),
      executionCount: null, status: "running", outputs: new CellOutputs(), notices: [], turnId: turn.id, operator: null,
      branch: branchOf(data["branch"]), supersededBy: null, startedAt: event.ts, endedAt: null,
    };
    this.put(cell);
    return cell;
  }

  private put(cell: Cell): void {
    const known = this.byId.get(cell.id);
    if (known === undefined) this.cells.push(cell);
    else this.cells[this.cells.indexOf(known)] = cell;
    this.byId.set(cell.id, cell);
  }

  private change(data: Record<string, unknown>, act: (cell: Cell) => void): Cell | null {
    const cell = this.byId.get(text(data["cell_id"]));
    if (cell === undefined) return null;
    act(cell);
    return cell;
  }

  // A display may be updated from a later cell than the one that showed it.
  private addOutput(cell: Cell, output: Output): void {
    if (output.output_type === "update_display_data") {
      for (const other of this.cells) other.outputs.update(output as RichOutput);
    } else {
      cell.outputs.add(output);
      if (output.output_type === "execute_result") cell.executionCount = output.execution_count ?? cell.executionCount;
    }
  }

  private endTurn(turn: Turn, event: ChatEvent): void {
    turn.status = (text(event.data["status"]) || "ok") as TurnStatus;
    turn.endedAt = event.ts;
    turn.approval = null;
    turn.problem = text(event.data["message"]) || turn.problem;
    for (const cell of this.cells) {
      if (cell.turnId !== turn.id || cell.status !== "running") continue;
      cell.status = turn.status === "cancelled" ? "interrupted" : "ok";
      cell.endedAt = event.ts;
    }
  }
}

function endCell(cell: Cell, event: ChatEvent): void {
  cell.status = (text(event.data["status"]) || "ok") as CellStatus;
  cell.endedAt = event.ts;
  const count = event.data["execution_count"];
  if (typeof count === "number") cell.executionCount = count;
}

function cellOf(raw: NotebookCell, index: number): Cell {
  const own = raw.metadata?.podflare_nb ?? {};
  const timing = raw.metadata?.execution ?? {};
  const outputs = new CellOutputs();
  for (const output of raw.outputs ?? []) outputs.add(output);
  const failed = (raw.outputs ?? []).some((output) => output.output_type === "error");
  return {
    id: raw.id ?? `cell-${index}`,
    kind: raw.cell_type,
    role: own.role ?? (raw.cell_type === "code" ? "tool" : "assistant"),
    ...split(textOf(raw.source), own.language ?? ""),
    executionCount: raw.execution_count ?? null,
    status: own.status ?? (failed ? "error" : "ok"),
    outputs,
    notices: [],
    turnId: own.turn_id ?? null,
    operator: own.operator ?? null,
    branch: branchOf(own.branch),
    supersededBy: branchOf(own.superseded_by),
    startedAt: time(timing["iopub.execute_input"] ?? timing["iopub.status.busy"]),
    endedAt: time(timing["shell.execute_reply"] ?? timing["iopub.status.idle"]),
  };
}

function same(known: Cell, recorded: Cell): boolean {
  const facts = (cell: Cell): unknown[] => [
    cell.kind, cell.role, cell.source, cell.language, cell.executionCount, cell.status, cell.turnId, cell.operator, cell.branch?.sandboxId,
    cell.supersededBy?.sandboxId,
  ];
  return JSON.stringify(facts(known)) === JSON.stringify(facts(recorded)) && known.outputs.shows(recorded.outputs);
}

function branchOf(value: unknown): Branch | null {
  const told = (value ?? {}) as Record<string, unknown>;
  const sandboxId = text(told["sandbox_id"]);
  return sandboxId === "" ? null : { name: text(told["name"]) || null, sandboxId };
}

function turnOf(info: TurnInfo): Turn {
  return {
    id: info.turn_id, status: info.status, message: info.message, model: info.model,
    startedAt: time(info.started_at), endedAt: time(info.ended_at), usage: info.usage, problem: info.error ?? null, approval: null,
  };
}

// The recorded source of a bash cell begins with %%bash; the page shows it as a badge instead.
function split(source: string, language: string): { source: string; language: string } {
  const magic = /^%%bash[^\n]*\n?/.exec(source);
  if (magic) return { source: source.slice(magic[0].length), language: "bash" };
  return { source, language: language || "python" };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function time(stamp: string | null | undefined): number | null {
  const at = stamp ? Date.parse(stamp) : NaN;
  return Number.isNaN(at) ? null : at;
}
