// Two branches beside each other: variables and files that differ, and the cells of their notebooks since they parted.
// A <dialog> over the whole page, so that focus stays inside and Escape closes. Above: page. Below: cell_view, core/.

import { sizeOf } from "../core/file_store.js";
import type { Member } from "../core/family.js";
import { type Cell, Transcript } from "../core/transcript.js";
import type { Difference, Notebook, Value } from "../core/wire.js";
import { cellView } from "./cell_view.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

export interface Compared {
  members: [Member, Member];
  difference: Promise<Difference>; // from the first to the second
  notebooks: Promise<[Notebook, Notebook]>;
  keep(member: Member): (() => void) | null; // null: it cannot be merged
  open(member: Member): void;
  gone(): void; // closed: what is still on its way is not needed
}

const NOTHING: ReadonlySet<string> = new Set();

export function compareView(compared: Compared, explain: (reason: unknown) => string): void {
  const [one, other] = compared.members;
  const state = h("section", { class: "compare-state", "aria-label": "What differs", "aria-busy": "true" }, waiting("Comparing variables and files …"));
  const cells = h("section", { class: "compare-cells", "aria-label": "Cells" }, waiting("Reading the notebooks …"));
  const close = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Close the comparison", title: "Close (Esc)", onclick: () => dialog.close() }, icon("close"));
  const leave = (act: () => void) => (): void => { dialog.close(); act(); };
  const head = (member: Member): HTMLElement => {
    const keep = compared.keep(member);
    return h("div", { class: "compare-head" }, h("h3", {}, h("span", { class: "knot", "data-state": member.state, "aria-hidden": "true" }), member.name),
      h("button", { type: "button", class: "link", "aria-label": `Open ${member.name}`, onclick: leave(() => compared.open(member)) }, "Open"),
      keep ? h("button", { type: "button", class: "secondary", "aria-label": `Keep ${member.name}`, onclick: leave(keep) }, icon("merge"), "Keep this") : null);
  };
  const dialog: HTMLDialogElement = h("dialog", { class: "compare", "aria-label": `${one.name} beside ${other.name}`, onclose: () => { compared.gone(); dialog.remove(); } },
    h("header", { class: "compare-top" }, h("h2", {}, `${one.name} and ${other.name}`), h("span", { class: "grow" }), close),
    h("div", { class: "compare-body" }, h("div", { class: "compare-heads" }, head(one), head(other)), state, cells));
  document.body.append(dialog);
  dialog.showModal();
  compared.difference.then((difference) => state.replaceChildren(...differing(difference)), (reason: unknown) => state.replaceChildren(problem(explain(reason))))
    .finally(() => state.removeAttribute("aria-busy"));
  compared.notebooks.then(([a, b]) => cells.replaceChildren(...sideBySide(a, b, compared.members)), (reason: unknown) => cells.replaceChildren(problem(explain(reason))));
}

function waiting(sentence: string): HTMLElement {
  return h("p", { class: "compare-note", role: "status" }, h("span", { class: "spinner" }), sentence);
}

function problem(sentence: string): HTMLElement {
  return h("p", { class: "notice notice-error", role: "alert" }, sentence);
}

// --- what differs

interface Row {
  name: string;
  one: HTMLElement | null;
  other: HTMLElement | null;
}

function differing({ variables, files, cells }: Difference): HTMLElement[] {
  const rows: Row[] = [
    ...variables.changed.map(({ name, before, after }) => ({ name, one: value(before), other: value(after) })),
    ...variables.removed.map((one) => ({ name: one.name, one: value(one), other: null })),
    ...variables.added.map((one) => ({ name: one.name, one: null, other: value(one) })),
  ];
  const changedFiles: Row[] = [
    ...files.modified.map((one) => ({ name: one.path, one: text(sizeOf(one.size)), other: text(sizeOf(one.other_size)) })),
    ...files.removed.map((one) => ({ name: one.path, one: text(sizeOf(one.size)), other: null })),
    ...files.added.map((one) => ({ name: one.path, one: null, other: text(sizeOf(one.size)) })),
  ];
  const remarks = [
    variables.unknown.length > 0 ? `Not compared, because only running them could tell: ${variables.unknown.slice(0, MOST).join(", ")}${variables.unknown.length > MOST ? " …" : ""}.` : "",
    variables.truncated ? "There are more variables than were looked at." : "",
    cells.message ?? "",
    files.truncated ? "There are more files that differ than were looked at." : "",
  ].filter((sentence) => sentence !== "");
  const none = rows.length + changedFiles.length === 0 ? h("p", { class: "compare-note" }, "Their variables and files are the same.") : null;
  const notes = remarks.map((sentence) => h("p", { class: "compare-note" }, sentence));
  const { added, removed, modified } = cells.summary;
  return [table("Variables", rows), table("Files", changedFiles), none, ...notes, heading("Cells", { added, removed, changed: modified })]
    .filter((element) => element !== null);
}

const MOST = 60; // rows of a table before the rest is folded

function table(title: string, rows: Row[]): HTMLElement | null {
  if (rows.length === 0) return null;
  const body = h("div", { class: "diff-rows", role: "rowgroup" }, ...rows.slice(0, MOST).map(drawn));
  const more = rows.length > MOST ? h("button", { type: "button", class: "link", onclick: () => { more?.remove(); body.append(...rows.slice(MOST).map(drawn)); } }, `Show all ${rows.length}`) : null;
  return h("div", { class: "diff", role: "table", "aria-label": title }, heading(title, counted(rows)), body, more);
}

type Kind = "changed" | "added" | "removed";

// As the service counts: what only the second has is added.
function kindOf(row: Row): Kind {
  return row.one === null ? "added" : row.other === null ? "removed" : "changed";
}

function counted(rows: Row[]): Record<Kind, number> {
  const counts = { changed: 0, added: 0, removed: 0 };
  for (const row of rows) counts[kindOf(row)] += 1;
  return counts;
}

function heading(title: string, counts: Record<Kind, number>): HTMLElement {
  const kinds: Kind[] = ["changed", "added", "removed"];
  const told = kinds.filter((kind) => counts[kind] > 0).map((kind) => `${counts[kind]} ${kind}`);
  return h("h4", {}, title, h("small", {}, told.length === 0 ? "the same" : told.join(", ")));
}

function drawn(row: Row): HTMLElement {
  const kind = kindOf(row);
  const cell = (content: HTMLElement | null): HTMLElement => h("span", { role: "cell", class: content === null ? "absent" : "" }, content ?? "not here");
  return h("div", { class: `diff-row ${kind}`, role: "row" }, h("div", { role: "rowheader", title: row.name }, h("code", {}, row.name), h("small", {}, kind)), cell(row.one), cell(row.other));
}

function value(of: Value): HTMLElement {
  const shape = Array.isArray(of.shape) ? ` ${of.shape.join("×")}` : "";
  return h("span", { class: "value" }, h("small", {}, `${of.type}${shape}`), h("code", {}, of.repr));
}

function text(content: string): HTMLElement {
  return h("span", {}, content);
}

// --- cells

function sideBySide(one: Notebook, other: Notebook, [a, b]: [Member, Member]): HTMLElement[] {
  const [left, right] = [cellsOf(one), cellsOf(other)];
  let common = 0;
  while (common < left.length && common < right.length && same(left[common], right[common])) common += 1;
  const shared = h("details", { class: "in-common" }, h("summary", {}, common === 1 ? "1 cell in common" : `${common} cells in common`));
  shared.addEventListener("toggle", () => { if (shared.childElementCount === 1) shared.append(column(left.slice(0, common))); }, { once: true });
  const columns = h("div", { class: "compare-columns" },
    labelled(a.name, column(left.slice(common))), labelled(b.name, column(right.slice(common))));
  return [...(common > 0 ? [shared] : []), columns];
}

function cellsOf(notebook: Notebook): Cell[] {
  const transcript = new Transcript();
  transcript.load(notebook, []);
  return transcript.cells;
}

function same(one: Cell | undefined, other: Cell | undefined): boolean {
  return one?.id === other?.id && one?.source === other?.source;
}

function column(cells: Cell[]): HTMLElement {
  if (cells.length === 0) return h("p", { class: "compare-note" }, "No cells of its own.");
  return h("div", { class: "cells" }, ...cells.map((cell) => {
    const view = cellView(cell);
    view.update(cell, 0, NOTHING);
    return view.element;
  }));
}

function labelled(name: string, content: HTMLElement): HTMLElement {
  return h("div", { class: "compare-column", role: "group", "aria-label": `Cells of ${name}` }, h("p", { class: "column-name", "aria-hidden": "true" }, name), content);
}
