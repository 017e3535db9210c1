// The terminals of the open sandbox, below the conversation: a tab for each, made, shown, ended; as high as the person
// wants. Only the one that is shown holds a connection: a browser has six for a service. Above: page. Below:
// terminal_pane, core/terminals.

import { type Api, ApiError } from "../core/api.js";
import { asApiError, type Wait } from "../core/conversation.js";
import type { TerminalLink } from "../core/terminal_link.js";
import { Terminals } from "../core/terminals.js";
import type { TouchKey } from "../emulator/emulator.js";
import { copyText } from "./copy_button.js";
import { confirmDialog } from "./dialogs.js";
import { h } from "./dom.js";
import { icon, type IconName } from "./icons.js";
import { type PaneActions, TerminalPane } from "./terminal_pane.js";
import { onNewColours } from "./terminal_colours.js";
import { verticalSplitter } from "./splitter.js";

export interface TerminalsHost {
  sandbox(): Promise<string>; // the open one; made where there is none yet
  hide(): void;
  failed(problem: ApiError, retry?: () => void): void;
  isToggle(event: KeyboardEvent): boolean; // the shortcut that opens and leaves this panel
}

const TOUCH_KEYS: [TouchKey, string][] = [["Esc", "Escape"], ["Tab", "Tab"], ["^C", "Control C"], ["^D", "Control D"], ["Up", "Up"], ["Down", "Down"], ["Left", "Left"], ["Right", "Right"]];
const SIGNS: Partial<Record<TouchKey, string>> = { Up: "↑", Down: "↓", Left: "←", Right: "→" };

export class TerminalsPanel {
  readonly element: HTMLElement;
  private readonly terminals: Terminals;
  private readonly tabs = h("div", { class: "terminal-tabs", role: "tablist", "aria-label": "Terminals" });
  private readonly stage = h("div", { class: "terminal-stage" });
  private readonly empty = h("div", { class: "terminal-empty" });
  private readonly endButton: HTMLButtonElement;
  private readonly newButton: HTMLButtonElement;
  private readonly aloud: HTMLButtonElement;
  private readonly panes: TerminalPane[] = [];
  private active: TerminalPane | null = null;
  private sandboxId: string | null = null;
  private closed: string | null = null; // why the sandbox is over
  private made = 0;

  constructor(api: Api, private readonly host: TerminalsHost, storage: Storage, wait: Wait) {
    this.terminals = new Terminals(api, () => this.draw(), (problem) => host.failed(problem), wait);
    this.newButton = button("plus", "New terminal", () => void this.create());
    this.endButton = button("trash", "End this terminal", () => void this.end());
    this.aloud = h("button", { type: "button", class: "secondary until-focus", "aria-pressed": String(storage.getItem(ALOUD) === "yes") }, "Read the screen aloud");
    this.aloud.addEventListener("click", () => {
      const on = this.aloud.getAttribute("aria-pressed") !== "true";
      this.aloud.setAttribute("aria-pressed", String(on));
      storage.setItem(ALOUD, on ? "yes" : "");
      for (const pane of this.panes) pane.restyle();
    });
    this.tabs.addEventListener("keydown", (event) => this.moveTab(event));
    const keys = h("div", { class: "touch-keys", role: "toolbar", "aria-label": "Keys" }, ...TOUCH_KEYS.map(([key, says]) =>
      h("button", { type: "button", "aria-label": says, onclick: () => { void this.active?.press(key); this.active?.focus(); } }, SIGNS[key] ?? key)),
      "clipboard" in navigator ? h("button", { type: "button", onclick: () => void this.paste() }, "Paste") : null);
    this.element = h("section", { class: "terminals", id: "terminals-panel", "aria-label": "Terminals of the sandbox", hidden: true },
      verticalSplitter("Height of the terminals", storage, () => this.element),
      h("header", { class: "terminals-bar" }, this.tabs, this.newButton, h("span", { class: "grow" }), this.aloud, this.endButton, button("close", "Hide the terminals (Ctrl+`)", () => host.hide())),
      this.stage, this.empty, keys,
      h("p", { class: "off-screen", id: "terminals-leave" }, "Tab and Escape go to the program. Control and backtick leaves the terminal."));
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      event.stopPropagation(); // outside of here it stops what runs
      host.hide();
    });
    onNewColours(() => { for (const pane of this.panes) pane.restyle(); });
  }

  get shown(): boolean {
    return !this.element.hidden;
  }

  get hasFocus(): boolean {
    return this.element.contains(document.activeElement);
  }

  // The panel was opened by the person: there is to be a terminal, and it gets the focus.
  async open(): Promise<void> {
    this.active?.focus();
    await this.look();
    if (this.active === null && this.closed === null) await this.create();
    else if (!this.hasFocus) this.active?.focus();
  }

  focus(): void {
    this.active?.focus();
  }

  // The panel was hidden: nothing is followed any more, everything goes on.
  leave(): void {
    this.active?.link?.leave();
  }

  // The sandbox that is open, and why it is over where it is. Cheap when nothing changed.
  update(sandboxId: string | null, closed: string | null): void {
    const moved = sandboxId !== this.sandboxId;
    if (!moved && closed === this.closed) return;
    this.closed = closed;
    if (moved) this.moveTo(sandboxId);
    if (this.shown && moved) void this.look();
    this.draw();
  }

  // The list again: terminals may have been made or have ended elsewhere.
  async look(): Promise<void> {
    if (!this.shown || this.closed !== null) return;
    try {
      await this.terminals.refresh();
    } catch (reason) {
      const problem = asApiError(reason);
      // Gone: the rest of the page tells why.
      if (problem.status !== 404 && problem.status !== 410) this.host.failed(problem, () => void this.look());
      return;
    }
    this.follow();
    this.draw();
  }

  private moveTo(sandboxId: string | null): void {
    for (const pane of this.panes.splice(0)) pane.dispose();
    this.active = null;
    this.made = 0;
    this.sandboxId = sandboxId;
    this.terminals.open(sandboxId);
  }

  // A pane for every terminal; the newest is shown where none is.
  private follow(): void {
    if (this.panes.some((pane) => pane.link === null)) return; // one is being made: the list may have it already
    for (const link of this.terminals.all) if (!this.panes.some((pane) => pane.link === link)) this.add(link);
    if (this.active === null) this.activate(this.panes.filter((pane) => pane.link?.over === false).at(-1) ?? this.panes.at(-1) ?? null);
    else this.present(this.active);
  }

  private add(link: TerminalLink | null): TerminalPane {
    this.made += 1;
    const pane = new TerminalPane(this.paneActions, `Terminal ${this.made}`, link);
    pane.element.hidden = true;
    pane.element.id = `terminal-${this.made}`;
    this.panes.push(pane);
    this.stage.append(pane.element);
    return pane;
  }

  private readonly paneActions: PaneActions = {
    openLink: (url) => void this.ask(url),
    copied: (text) => void copyText(text),
    again: () => void this.create(),
    isPageKey: (event) => this.host.isToggle(event),
    aloud: () => this.aloud.getAttribute("aria-pressed") === "true",
  };

  private async create(): Promise<void> {
    const before = this.active;
    let pane: TerminalPane | null = null;
    try {
      this.update(await this.host.sandbox(), this.closed);
      pane = this.add(null);
      this.activate(pane);
      const link = await this.terminals.create(await pane.size());
      if (link === null) return;
      pane.link = link;
      this.activate(pane);
      pane.focus();
    } catch (reason) {
      if (pane) this.remove(pane);
      if (before && this.panes.includes(before)) this.activate(before);
      this.host.failed(asApiError(reason), () => void this.create());
    }
  }

  // Ends the one that is shown, or puts away one that has ended.
  private async end(): Promise<void> {
    const link = this.active?.link;
    if (!link || !this.active) return;
    if (link.over) {
      this.terminals.forget(link);
      this.remove(this.active);
      return;
    }
    if (!(await confirmDialog("End this terminal?", "What runs in it is killed.", "End it"))) return;
    try {
      await link.kill();
    } catch (reason) {
      this.host.failed(asApiError(reason));
    }
  }

  // Where there are no keys for it. Plain http has no clipboard to read, and the person may refuse it.
  private async paste(): Promise<void> {
    try {
      await this.active?.paste(await navigator.clipboard.readText());
      this.active?.focus();
    } catch {
      this.host.failed(new ApiError(0, "clipboard", "The browser does not let this page read the clipboard."));
    }
  }

  private remove(pane: TerminalPane): void {
    const at = this.panes.indexOf(pane);
    if (at >= 0) this.panes.splice(at, 1);
    pane.dispose();
    if (this.active === pane) this.activate(this.panes[Math.max(0, at - 1)] ?? null);
    this.draw();
    if (this.hasFocus || document.activeElement === document.body) (this.active === null ? this.newButton : this.selectedTab())?.focus();
  }

  private activate(pane: TerminalPane | null): void {
    if (this.active !== pane) this.active?.link?.leave();
    this.active = pane;
    for (const other of this.panes) other.element.hidden = other !== pane;
    if (pane) this.present(pane);
    this.draw();
  }

  private present(pane: TerminalPane): void {
    if (!this.shown || this.closed !== null) return;
    pane.show().catch((reason: unknown) => this.host.failed(asApiError(reason), () => this.present(pane)));
  }

  private moveTab(event: KeyboardEvent): void {
    const at = this.active === null ? -1 : this.panes.indexOf(this.active);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: this.panes.length - 1 }[event.key];
    const pane = to === undefined ? undefined : this.panes[(to + this.panes.length) % this.panes.length];
    if (!pane) return;
    event.preventDefault();
    this.activate(pane);
    this.selectedTab()?.focus();
  }

  private selectedTab(): HTMLElement | null {
    return this.tabs.querySelector<HTMLElement>("[aria-selected=true]");
  }

  private draw(): void {
    const focused = this.tabs.contains(document.activeElement);
    const names = this.panes.map((_, at) => nameOf(this.panes, at));
    this.tabs.replaceChildren(...this.panes.map((pane, at) => this.tab(pane, names[at] ?? "")));
    if (focused) this.selectedTab()?.focus();
    for (const pane of this.panes) pane.update(this.closed !== null);
    const over = this.active?.link?.over === true;
    this.endButton.disabled = !this.active?.link || (this.closed !== null && !over);
    this.endButton.title = over ? "Put this terminal away" : "End this terminal";
    this.endButton.setAttribute("aria-label", this.endButton.title);
    this.newButton.disabled = this.closed !== null;
    this.showEmpty();
  }

  private tab(pane: TerminalPane, name: string): HTMLElement {
    const shown = pane === this.active;
    const code = pane.link?.exitCode ?? null;
    return h("button", {
      type: "button", role: "tab", class: "terminal-tab", "aria-selected": String(shown), "aria-controls": pane.element.id, tabindex: shown ? "0" : "-1", title: name,
      onclick: () => { this.activate(pane); pane.focus(); },
    }, h("span", { class: "terminal-name" }, name), code === null ? null : h("span", { class: code === 0 ? "exit-code" : "exit-code bad" }, code < 0 ? "ended" : `exit ${code}`));
  }

  private showEmpty(): void {
    const some = this.panes.length > 0;
    this.stage.hidden = !some;
    this.empty.hidden = some && this.closed === null;
    this.empty.classList.toggle("below", some); // what they said last can still be read
    if (this.closed !== null) this.empty.replaceChildren(`${this.closed} Its terminals ended with it.`);
    else this.empty.replaceChildren("No terminal runs in this sandbox. ", h("button", { type: "button", class: "link", onclick: () => void this.create() }, "New terminal"));
  }

  // A link in the output may say one address and lead to another: what it leads to is shown first.
  private async ask(url: string): Promise<void> {
    const shown = url.length > SHOWN_URL ? `${url.slice(0, SHOWN_URL)} …` : url;
    if (await confirmDialog("Open this link?", `A program in the sandbox wrote it: ${shown}`, "Open it", "Cancel")) window.open(url, "_blank", "noopener,noreferrer");
  }
}

const ALOUD = "podflare.terminals.aloud";
const SHOWN_URL = 500;
const LOGIN_SHELL = "bash -l"; // as the service names it

// "bash", and "bash 2" for the second of that name.
function nameOf(panes: TerminalPane[], at: number): string {
  const label = (pane: TerminalPane | undefined): string => (pane?.link?.info.cmd_label ?? LOGIN_SHELL).replace(/^bash -l$/, "bash");
  const own = label(panes[at]);
  const before = panes.slice(0, at).filter((pane) => label(pane) === own).length;
  return before === 0 ? own : `${own} ${before + 1}`;
}

function button(name: IconName, label: string, act: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "quiet icon-button", "aria-label": label, title: label, onclick: act }, icon(name));
}
