// The frame of the page: header, scrolling conversation, composer, sidebar and files as drawers on a small screen.
// Keeps the end in view while a turn writes, unless the person scrolled away. Above: page.

import type { SandboxInfo } from "../core/wire.js";
import { h, setText } from "./dom.js";
import { inWords } from "./egress.js";
import { icon } from "./icons.js";
import { menu } from "./menu.js";
import { titleOf } from "./title.js";

export interface FrameOptions {
  parts: Record<"sidebar" | "cells" | "composer" | "files" | "branches" | "terminals" | "toasts" | "chips" | "preview", HTMLElement>;
  notebook(format: string): void;
  togglePanel(panel: Panel): void;
  toggleTerminals(): void;
  openSandbox(id: string): void;
  changeEgress(): void;
  newSandbox(): void;
  retry(): void;
}

export type Panel = "files" | "branches" | "preview";

export interface FrameState {
  branchOf: string | null; // where the open sandbox stands in its family, for people
  branches: number; // live ones beside it
  sandbox: SandboxInfo | undefined;
  busy: boolean;
  loading: string | null; // what is waited for
  problem: string | null;
}

const NEAR = 120; // pixels from the end that count as being there

export class Frame {
  readonly element: HTMLElement;
  private readonly title = h("h1", { class: "title" });
  private readonly detailText = h("p", { class: "title-detail" });
  private readonly network = h("button", { type: "button", class: "link network-button", hidden: true, title: "What it may reach", onclick: () => this.options.changeEgress() });
  private readonly detail = h("div", { class: "title-line" }, this.detailText, this.network);
  private readonly status = h("p", { class: "off-screen", role: "status", "aria-live": "polite" });
  private readonly scroller: HTMLElement;
  private readonly welcomeSlot = h("div", { class: "welcome-slot" });
  private readonly loadingText = h("span", {});
  private readonly loading = h("div", { class: "loading", role: "status" }, h("span", { class: "spinner" }), this.loadingText);
  private readonly problem = h("div", { class: "notice notice-error", role: "alert" });
  private readonly closed = h("div", { class: "notice notice-closed" });
  private readonly latest: HTMLElement;
  private readonly panelButtons: Record<Exclude<Panel, "preview">, HTMLButtonElement>; // a preview has its chip
  private readonly terminalsButton: HTMLButtonElement;
  private readonly count = h("span", { class: "button-count", hidden: true });
  private readonly downloads: HTMLElement;
  private readonly menuButton: HTMLButtonElement;
  private wasBusy = false;
  private sticking = true;
  private lastTop = 0;

  constructor(private readonly options: FrameOptions) {
    const { parts } = options;
    this.menuButton = iconButton("menu", "My sandboxes", () => this.setDrawer(!this.element.classList.contains("drawer-open")));
    this.menuButton.classList.add("drawer-button");
    this.menuButton.setAttribute("aria-controls", "sidebar");
    this.panelButtons = {
      branches: iconButton("branch", "Branches", () => options.togglePanel("branches")),
      files: iconButton("files", "Files", () => options.togglePanel("files")),
    };
    for (const [panel, button] of Object.entries(this.panelButtons)) button.setAttribute("aria-controls", `${panel}-panel`);
    this.terminalsButton = iconButton("terminal", "Terminals (Ctrl+`)", () => options.toggleTerminals());
    this.terminalsButton.setAttribute("aria-label", "Terminals");
    this.terminalsButton.setAttribute("aria-controls", "terminals-panel");
    this.panelButtons.branches.classList.add("branches-button");
    this.panelButtons.branches.append(h("span", { class: "button-label" }, "Branches"), this.count);
    this.downloads = menu(iconButton("download", "Download the notebook"), () => [
      { label: "Notebook", detail: ".ipynb", act: () => options.notebook("ipynb") },
      { label: "Web page", detail: ".html", act: () => options.notebook("html") },
      { label: "Markdown", detail: ".md", act: () => options.notebook("md") },
      { label: "Script", detail: ".py", act: () => options.notebook("py") },
    ]);
    this.latest = h("button", { type: "button", class: "latest", hidden: true, "aria-label": "To the latest", onclick: () => this.stickToEnd() }, icon("down"));
    const column = h("div", { class: "column", role: "log", "aria-live": "off", "aria-label": "Conversation" },
      this.welcomeSlot, this.loading, this.problem, parts.cells, this.closed);
    new ResizeObserver(() => this.keepEnd()).observe(column);
    this.scroller = h("div", { class: "scroller", tabindex: "-1" }, column,
      h("div", { class: "dock" }, this.latest, parts.chips, parts.composer));
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    const header = h("header", { class: "top" }, this.menuButton, h("div", { class: "titles" }, this.title, this.detail), this.panelButtons.branches, this.panelButtons.files, this.terminalsButton, this.downloads);
    const main = h("main", { class: "main" }, header, this.scroller, parts.terminals, this.status);
    const shade = h("div", { class: "shade", onclick: () => this.closeDrawer() });
    this.element = h("div", { class: "page" }, parts.sidebar, shade, main, parts.branches, parts.files, parts.preview, parts.toasts);
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.element.classList.contains("drawer-open")) {
        event.stopPropagation();
        this.closeDrawer();
        this.menuButton.focus();
      }
    });
  }

  update(state: FrameState): void {
    const { sandbox } = state;
    const title = sandbox?.title ? titleOf(sandbox.title) : "New notebook";
    setText(this.title, title);
    document.title = sandbox?.title ? `${title.slice(0, 60)} · podflare_nb` : "podflare_nb";
    setText(this.detailText, sandbox ? [state.branchOf, sandbox.template, state.busy ? "running" : sandbox.state].filter((part) => part !== null).join(" · ") : "Starts with your first message");
    this.network.hidden = sandbox === undefined || sandbox.state === "closed";
    setText(this.network, sandbox ? inWords(sandbox.egress) : "");
    this.downloads.hidden = sandbox === undefined;
    this.count.hidden = state.branches === 0;
    setText(this.count, String(state.branches));
    this.panelButtons.branches.setAttribute("aria-label", state.branches === 0 ? "Branches" : `Branches (${state.branches})`);
    this.panelButtons.branches.title = state.branches === 0 ? "Branches" : `Branches (${state.branches} beside this one)`;
    this.loading.hidden = state.loading === null;
    setText(this.loadingText, state.loading ?? "");
    this.showProblem(state.problem);
    this.showClosed(sandbox);
    if (state.busy && !this.wasBusy) this.say("Running.");
    this.wasBusy = state.busy;
    this.element.classList.toggle("busy", state.busy);
  }

  say(sentence: string): void {
    this.status.textContent = sentence;
  }

  setWelcome(content: HTMLElement | null): void {
    this.welcomeSlot.replaceChildren(...(content ? [content] : []));
  }

  // The focus goes back to the button of a panel that had it.
  setPanel(shown: Panel | null): void {
    for (const panel of ["files", "branches"] as const) {
      const left = shown !== panel && this.options.parts[panel].contains(document.activeElement);
      this.panelButtons[panel].setAttribute("aria-expanded", String(shown === panel));
      this.options.parts[panel].hidden = shown !== panel;
      if (left && shown === null) this.panelButtons[panel].focus();
    }
    this.options.parts.preview.hidden = shown !== "preview";
  }

  // The panel below the conversation; the focus goes back to its button when the panel had it.
  setTerminals(shown: boolean): void {
    const { terminals } = this.options.parts;
    const left = !shown && terminals.contains(document.activeElement);
    terminals.hidden = !shown;
    this.terminalsButton.setAttribute("aria-expanded", String(shown));
    if (left) this.terminalsButton.focus();
    this.keepEnd();
  }

  closeDrawer(): void {
    this.setDrawer(false);
  }

  stickToEnd(): void {
    this.sticking = true;
    this.keepEnd();
  }

  private keepEnd(): void {
    if (this.sticking) this.scroller.scrollTop = this.scroller.scrollHeight;
    this.scrolled();
  }

  // Only a move upwards leaves the end: content that grows (a picture that decodes) scrolls nothing by itself.
  private scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    if (atEnd) this.sticking = true;
    else if (scrollTop < this.lastTop) this.sticking = false;
    this.lastTop = scrollTop;
    this.latest.hidden = this.sticking;
  }

  private setDrawer(open: boolean): void {
    this.element.classList.toggle("drawer-open", open);
    this.menuButton.setAttribute("aria-expanded", String(open));
    if (open) this.options.parts.sidebar.querySelector<HTMLElement>("button, a")?.focus();
  }

  private showProblem(sentence: string | null): void {
    this.problem.hidden = sentence === null;
    if (sentence === null || this.problem.dataset["says"] === sentence) return;
    this.problem.dataset["says"] = sentence;
    this.problem.replaceChildren(h("span", {}, sentence), h("button", { type: "button", class: "link", onclick: () => this.options.retry() }, "Try again"));
  }

  private showClosed(sandbox: SandboxInfo | undefined): void {
    this.closed.hidden = sandbox?.state !== "closed";
    if (this.closed.hidden || this.closed.dataset["id"] === sandbox?.id) return;
    this.closed.dataset["id"] = sandbox?.id ?? "";
    const why = sandbox?.end?.message || "This sandbox is closed.";
    const into = sandbox?.merged_into;
    this.closed.replaceChildren(h("span", {}, `${why} Its notebook stays readable.`),
      into ? h("button", { type: "button", class: "link", onclick: () => this.options.openSandbox(into) }, "Open what it was merged into")
        : h("button", { type: "button", class: "link", onclick: () => this.options.newSandbox() }, "New sandbox"));
  }
}

function iconButton(name: "menu" | "files" | "download" | "branch" | "terminal", label: string, act?: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "quiet icon-button", "aria-label": label, title: label, onclick: act }, icon(name));
}
