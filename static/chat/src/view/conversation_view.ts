// The conversation on the page: cells in order, and under each turn how it goes or how it ended. Keyed by cell id:
// a redraw moves nothing that stayed. Above: page. Below: cell_view.

import type { Cell, Transcript, Turn } from "../core/transcript.js";
import { highlight } from "../render/highlight.js";
import { type CellView, cellView } from "./cell_view.js";
import { lasted } from "./clock.js";
import { h, setText } from "./dom.js";
import { icon } from "./icons.js";
import { titleOf } from "./title.js";

export interface ConversationActions {
  approve(approved: boolean): void;
  retryNow(): void;
  rewind(turn: Turn): void;
}

export class ConversationView {
  readonly element = h("div", { class: "cells" });
  private cells = new Map<string, { view: CellView; kind: string }>();
  private footers = new Map<string, TurnFooter>();
  private readonly lost: HTMLElement;

  constructor(private readonly actions: ConversationActions) {
    const now = h("button", { type: "button", class: "link", onclick: () => actions.retryNow() }, "Try now");
    this.lost = h("div", { class: "notice", role: "status" }, h("span", { class: "spinner" }), "The connection is lost. The turn goes on; taking it up again … ", now);
  }

  // `rewindable`: the turns whose state is kept.
  update(transcript: Transcript, lost: boolean, now: number, rewindable: ReadonlySet<string> = NOTHING): void {
    const last = [...transcript.turns.keys()].at(-1); // is there already
    const canRewind = (turn: Turn): boolean => turn.id !== last && transcript.running === null && rewindable.has(turn.id);
    const wanted: HTMLElement[] = [];
    const { cells } = transcript;
    let shownBefore: string | null | undefined;
    cells.forEach((cell, index) => {
      const view = this.view(cell);
      view.update(cell, now, cell.role === "user" ? sourcesRun(cells, index) : NOTHING);
      const opensTurn = cell.turnId === null || cell.turnId !== shownBefore;
      view.element.classList.toggle("first-of-turn", opensTurn && shownBefore !== undefined);
      view.element.classList.toggle("asked", opensTurn && cell.kind === "code" && cells[index - 1]?.role === "user");
      if (!view.element.hidden) shownBefore = cell.turnId;
      wanted.push(view.element);
      const turn = cell.turnId === null ? undefined : transcript.turns.get(cell.turnId);
      if (turn && cells[index + 1]?.turnId !== cell.turnId) wanted.push(this.footer(turn, cells, now, canRewind(turn)));
    });
    const running = transcript.running;
    if (running && !cells.some((cell) => cell.turnId === running.id)) wanted.push(this.footer(running, cells, now, false));
    if (lost) wanted.push(this.lost);
    place(this.element, wanted);
    this.forget(transcript);
  }

  private view(cell: Cell): CellView {
    const kind = `${cell.kind} ${cell.role}`;
    const known = this.cells.get(cell.id);
    if (known?.kind === kind) return known.view;
    const view = cellView(cell);
    this.cells.set(cell.id, { view, kind });
    return view;
  }

  private footer(turn: Turn, cells: Cell[], now: number, canRewind: boolean): HTMLElement {
    let footer = this.footers.get(turn.id);
    if (footer === undefined) this.footers.set(turn.id, (footer = new TurnFooter(this.actions)));
    footer.update(turn, cells.filter((cell) => cell.turnId === turn.id), now, canRewind);
    return footer.element;
  }

  private forget(transcript: Transcript): void {
    const ids = new Set(transcript.cells.map((cell) => cell.id));
    for (const id of this.cells.keys()) if (!ids.has(id)) this.cells.delete(id);
    for (const id of this.footers.keys()) if (!transcript.turns.has(id)) this.footers.delete(id);
  }
}

const NOTHING: ReadonlySet<string> = new Set();

// What the turn of the message at `index` has run so far.
function sourcesRun(cells: Cell[], index: number): ReadonlySet<string> {
  const sources = new Set<string>();
  for (let at = index + 1; cells[at]?.turnId === cells[index]?.turnId && at < cells.length; at += 1) {
    const cell = cells[at];
    if (cell?.kind === "code") sources.add(cell.source.trim());
  }
  return sources;
}

function place(parent: HTMLElement, wanted: HTMLElement[]): void {
  wanted.forEach((element, at) => {
    if (parent.children[at] !== element) parent.insertBefore(element, parent.children[at] ?? null);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild?.remove();
}

const ENDINGS: Record<string, string> = { cancelled: "Stopped.", limit: "Stopped at a limit.", error: "This turn failed." };

class TurnFooter {
  readonly element = h("div", { class: "turn-end" });
  private readonly line = h("p", {});
  private readonly problem = h("p", { class: "turn-problem" });
  private readonly back = h("button", { type: "button", class: "rewind", hidden: true, title: "Variables, files and notebook as they were here" }, icon("rewind"), "Rewind to here");
  private approval: HTMLElement | null = null;
  private approvalId: string | null = null;
  private turn: Turn | null = null;

  constructor(private readonly actions: ConversationActions) {
    this.element.append(this.problem, this.line, this.back);
    this.back.addEventListener("click", () => { if (this.turn) actions.rewind(this.turn); });
  }

  update(turn: Turn, cells: Cell[], now: number, canRewind: boolean): void {
    this.turn = turn;
    this.back.hidden = !canRewind;
    if (canRewind) this.back.setAttribute("aria-label", `Rewind to here, the end of “${titleOf(turn.message).slice(0, 60)}”`);
    const last = cells.at(-1);
    const failed = turn.problem !== null || (turn.status !== "running" && turn.status !== "ok");
    setText(this.problem, failed ? turn.problem || (ENDINGS[turn.status] ?? "") : "");
    this.problem.hidden = !failed;
    this.problem.dataset["status"] = turn.status;
    this.problem.classList.toggle("mild", last?.status === "error"); // the cell above tells it already
    this.element.dataset["status"] = turn.status;
    setText(this.line, turn.status === "running" ? waiting(turn, cells, now) : summary(turn, cells));
    this.line.hidden = this.line.textContent === "";
    this.showApproval(turn);
  }

  private showApproval(turn: Turn): void {
    const wanted = turn.approval;
    if (wanted?.toolCallId === this.approvalId && wanted !== null) return;
    this.approval?.remove();
    this.approval = null;
    this.approvalId = wanted?.toolCallId ?? null;
    if (wanted === null) return;
    const yes = h("button", { type: "button", class: "primary", onclick: () => this.actions.approve(true) }, "Run it");
    const no = h("button", { type: "button", class: "secondary", onclick: () => this.actions.approve(false) }, "Do not run");
    this.approval = h("section", { class: "card approval", role: "alertdialog", "aria-label": "The agent asks to run code" },
      h("p", {}, wanted.branch?.name ? `The agent asks to run this in branch ${wanted.branch.name}:` : "The agent asks to run this:"), h("pre", { class: "source" }, h("code", {}, highlight(wanted.source, wanted.language))),
      h("div", { class: "row" }, yes, no));
    this.element.prepend(this.approval);
    yes.focus();
  }
}

// While a cell runs it says so itself; between cells the agent is thinking.
function waiting(turn: Turn, cells: Cell[], now: number): string {
  if (turn.approval || cells.some((cell) => cell.status === "running" && (cell.kind === "code" || cell.source !== ""))) return "";
  const elapsed = turn.startedAt === null ? 0 : now - turn.startedAt;
  return elapsed < 800 ? "Working …" : `Working … ${lasted(elapsed)}`;
}

function summary(turn: Turn, cells: Cell[]): string {
  const runs = cells.filter((cell) => cell.kind === "code").length;
  const parts: string[] = [];
  if (turn.startedAt !== null && turn.endedAt !== null) parts.push(lasted(turn.endedAt - turn.startedAt));
  if (runs > 1) parts.push(`${runs} runs`);
  const tokens = (turn.usage?.input_tokens ?? 0) + (turn.usage?.output_tokens ?? 0);
  if (tokens > 0) parts.push(`${tokens.toLocaleString()} tokens`);
  if (turn.model && turn.model !== "direct") parts.push(turn.model);
  return parts.length > 1 || tokens > 0 ? parts.join(" · ") : "";
}
