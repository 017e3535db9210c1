// One cell on the page. Follows its cell: `update` is cheap and touches only what differs from the last time.
// Above: conversation_view. Below: output_view, render/.

import type { Cell } from "../core/transcript.js";
import { highlight } from "../render/highlight.js";
import { markdown } from "../render/markdown.js";
import { lasted } from "./clock.js";
import { copyButton } from "./copy_button.js";
import { h, setText } from "./dom.js";
import { icon, mark } from "./icons.js";
import { OutputsView } from "./output_view.js";

const LONG_SOURCE = 16;
const LANGUAGES: Record<string, string> = { python: "Python", bash: "Bash" };
const ENDINGS: Record<string, string> = { error: "failed", interrupted: "stopped", timeout: "timed out", died: "the kernel died" };

export interface CellView {
  readonly element: HTMLElement;
  update(cell: Cell, now: number, runs: ReadonlySet<string>): void; // `runs`: the sources that this turn ran
}

export function cellView(cell: Cell): CellView {
  return cell.kind === "code" ? new CodeCellView() : new TextCellView(cell.role);
}

// What a person asked, or what the agent says.
class TextCellView implements CellView {
  readonly element: HTMLElement;
  private readonly body = h("div", { class: "prose" });
  private source: string | null = null;

  constructor(private readonly role: string) {
    const user = role === "user";
    const sign = user ? h("span", { class: "prompt" }, "›") : role === "tool" ? icon("branch") : mark();
    this.element = h("article", { class: `cell cell-${role}`, "aria-label": user ? "You" : role === "tool" ? "Branches" : "Answer" },
      h("div", { class: "gutter", "aria-hidden": "true" }, sign), this.body);
  }

  update(cell: Cell, _now: number, runs: ReadonlySet<string>): void {
    if (cell.source !== this.source) {
      this.source = cell.source;
      this.body.replaceChildren(markdown(cell.source, this.role === "user"));
      if (this.role === "tool") linkSandboxes(this.body);
    }
    if (this.role === "user") shorten(this.body, runs);
    this.element.classList.toggle("writing", cell.status === "running" && this.role === "assistant");
    const onlyRuns = this.role === "user" && [...this.body.children].every((child) => child.matches(".ran"));
    this.element.hidden = (cell.source.trim() === "" && cell.status !== "running") || onlyRuns;
  }
}

// What was done with branches names sandboxes by their long ids: here each is a link to its notebook.
function linkSandboxes(body: HTMLElement): void {
  for (const code of body.querySelectorAll("code")) {
    const id = code.textContent ?? "";
    if (/^sbx_[0-9a-f]{32}$/.test(id)) code.replaceWith(h("a", { href: `#${id}`, title: id }, "notebook"));
  }
}

// A block of the message that was run stands below as a cell: here it shrinks to a mark.
function shorten(body: HTMLElement, runs: ReadonlySet<string>): void {
  for (const pre of body.querySelectorAll("pre")) {
    const source = (pre.textContent ?? "").trim();
    if (!runs.has(source)) continue;
    const language = /language-(\w+)/.exec(pre.firstElementChild?.className ?? "")?.[1] ?? "code";
    const lines = source.split("\n").length;
    pre.replaceWith(h("p", { class: "ran" }, `${language}, ${lines} ${lines === 1 ? "line" : "lines"} ↓`));
  }
}

function branchSays(cell: Cell): string {
  if (cell.supersededBy !== null) return "replaced by a merge";
  return cell.branch?.name ? `branch ${cell.branch.name}` : "from a branch";
}

class CodeCellView implements CellView {
  readonly element: HTMLElement;
  private readonly count = h("span", { class: "count" });
  private readonly badge = h("span", { class: "badge" });
  private readonly branch = h("span", { class: "branch-badge", hidden: true });
  private readonly state = h("span", { class: "cell-state" });
  private readonly code = h("code");
  private readonly pre = h("pre", { class: "source" }, this.code);
  private readonly more = h("button", { type: "button", class: "fold" });
  private readonly toggle = h("button", { type: "button", class: "quiet icon-button", "aria-expanded": "true", title: "Hide the code" }, icon("chevron"));
  private readonly outputs = new OutputsView();
  private readonly notices = h("p", { class: "notices", hidden: true });
  private source: string | null = null;
  private lines = 0;
  private long = false;
  private hiddenCode = false;

  constructor() {
    this.toggle.setAttribute("aria-label", "Code");
    this.toggle.addEventListener("click", () => this.showCode(this.hiddenCode));
    this.more.addEventListener("click", () => this.fold(!this.pre.classList.contains("clipped")));
    const copy = copyButton("Copy the code", () => this.source ?? "");
    const bar = h("header", { class: "code-bar" }, this.badge, this.branch, this.state, h("span", { class: "grow" }), copy, this.toggle);
    const card = h("div", { class: "card" }, bar, this.pre, this.more, this.outputs.element, this.notices);
    this.element = h("article", { class: "cell cell-code" }, h("div", { class: "gutter" }, this.count), card);
  }

  update(cell: Cell, now: number): void {
    if (cell.source !== this.source) this.setSource(cell);
    const running = cell.status === "running";
    setText(this.count, running ? "[∗]" : cell.executionCount === null ? "[ ]" : `[${cell.executionCount}]`);
    setText(this.badge, LANGUAGES[cell.language] ?? cell.language);
    setText(this.state, stateOf(cell, now));
    this.branch.hidden = cell.branch === null && cell.supersededBy === null;
    setText(this.branch, branchSays(cell));
    this.branch.title = (cell.supersededBy ?? cell.branch)?.sandboxId ?? "";
    this.element.dataset["status"] = cell.status;
    this.element.setAttribute("aria-label", `${LANGUAGES[cell.language] ?? "Code"} cell ${cell.executionCount ?? ""}`.trim());
    this.element.setAttribute("aria-busy", String(running));
    this.outputs.update(cell.outputs);
    setText(this.notices, cell.notices.join(" "));
    this.notices.hidden = cell.notices.length === 0;
  }

  private setSource(cell: Cell): void {
    this.source = cell.source;
    this.code.replaceChildren(highlight(cell.source, cell.language));
    this.lines = cell.source.split("\n").length;
    const long = this.lines > LONG_SOURCE;
    if (long !== this.long) this.fold(long);
    this.long = long;
    this.more.hidden = !long || this.hiddenCode;
  }

  private fold(clipped: boolean): void {
    this.pre.classList.toggle("clipped", clipped);
    this.more.setAttribute("aria-expanded", String(!clipped));
    this.more.textContent = clipped ? `Show all ${this.lines} lines` : "Show less";
  }

  private showCode(shown: boolean): void {
    this.hiddenCode = !shown;
    this.pre.hidden = !shown;
    this.more.hidden = !shown || !this.long;
    this.toggle.setAttribute("aria-expanded", String(shown));
    this.toggle.title = shown ? "Hide the code" : "Show the code";
    this.element.classList.toggle("code-hidden", !shown);
  }
}

function stateOf(cell: Cell, now: number): string {
  if (cell.status === "running") {
    const elapsed = cell.startedAt === null ? 0 : now - cell.startedAt;
    return elapsed < 500 ? "running" : `running ${lasted(elapsed)}`;
  }
  const took = cell.startedAt !== null && cell.endedAt !== null ? lasted(cell.endedAt - cell.startedAt) : "";
  return [ENDINGS[cell.status] ?? "", took, cell.operator ? `by ${cell.operator}` : ""].filter((part) => part !== "").join(" · ");
}
