// One terminal on the page: its screen, and a line below that says what became of it. Loads the emulator when it is
// first shown. Above: terminals_panel. Below: core/terminal_link, emulator.

import type { Size, TerminalLink } from "../core/terminal_link.js";
import type { Emulator, TouchKey } from "../emulator/emulator.js";
import { h, setText } from "./dom.js";
import { coloursNow, monospace } from "./terminal_colours.js";

export interface PaneActions {
  openLink(url: string): void;
  copied(text: string): void;
  again(): void; // another terminal, after this one ended
  isPageKey(event: KeyboardEvent): boolean;
  aloud(): boolean; // whether screen readers are to be told what appears
}

const FONT_SIZE = 13;

export class TerminalPane {
  readonly element: HTMLElement;
  private readonly screen = h("div", { class: "terminal-screen" });
  private readonly spinner = h("span", { class: "spinner" });
  private readonly sentence = h("span", {});
  private readonly note: HTMLElement;
  private readonly retry: HTMLElement;
  private readonly again: HTMLElement;
  private emulator: Promise<Emulator> | null = null;
  private gone = false;
  private frozen = false;

  constructor(private readonly actions: PaneActions, private readonly label: string, public link: TerminalLink | null) {
    this.retry = h("button", { type: "button", class: "link", onclick: () => this.link?.retryNow() }, "Try now");
    this.again = h("button", { type: "button", class: "link", onclick: () => actions.again() }, "New terminal");
    this.note = h("p", { class: "terminal-note", role: "status" }, this.spinner, this.sentence, this.retry, this.again);
    this.element = h("div", { class: "terminal-pane", role: "tabpanel", "aria-label": label }, this.screen, this.note);
    this.screen.addEventListener("keydown", (event) => {
      if (!this.frozen && !actions.isPageKey(event)) event.stopPropagation(); // the program's, also where it means nothing to it
    });
    this.update();
  }

  // On the screen, following what the program writes.
  async show(): Promise<void> {
    const emulator = await this.load();
    if (this.gone || this.element.hidden || this.link === null) return;
    this.link.resize(emulator.size);
    await this.link.join(emulator);
  }

  // The size that it has on this page; the emulator is loaded for that.
  async size(): Promise<Size> {
    return (await this.load()).size;
  }

  focus(): void {
    void this.load().then((emulator) => { if (!this.element.hidden) emulator.focus(); });
  }

  async press(key: TouchKey): Promise<void> {
    (await this.load()).press(key);
  }

  async paste(text: string): Promise<void> {
    (await this.load()).paste(text);
  }

  restyle(): void {
    void this.emulator?.then((emulator) => {
      emulator.colour(coloursNow());
      emulator.readAloud(this.actions.aloud());
    });
  }

  // `closed`: its sandbox is over, which the panel tells.
  update(closed = false): void {
    const { link } = this;
    const over = link?.over === true && (link.state === "ended" || link.problem !== null);
    if (over && !this.frozen) {
      this.frozen = true;
      void this.emulator?.then((emulator) => emulator.freeze());
    }
    setText(this.sentence, sentenceOf(link));
    this.note.classList.toggle("passing", !over); // stands over the screen, so that its size stays
    this.note.hidden = closed || this.sentence.textContent === "";
    this.spinner.hidden = over;
    this.retry.hidden = link?.state !== "lost";
    this.again.hidden = !over;
  }

  dispose(): void {
    this.gone = true;
    this.element.remove();
    void this.emulator?.then((emulator) => emulator.dispose());
  }

  private load(): Promise<Emulator> {
    this.emulator ??= this.open();
    this.emulator.catch(() => (this.emulator = null)); // to be tried again
    return this.emulator;
  }

  private async open(): Promise<Emulator> {
    const { Emulator } = await import("../emulator/emulator.js");
    return new Emulator(this.screen, {
      font: monospace(), fontSize: FONT_SIZE, colours: coloursNow(), label: this.label, aloud: this.actions.aloud(), describedBy: "terminals-leave",
      typed: (bytes) => this.link?.type(bytes),
      resized: (cols, rows) => this.link?.resize({ cols, rows }),
      copied: (text) => this.actions.copied(text),
      openLink: (url) => this.actions.openLink(url),
      key: (event) => !this.frozen && !this.actions.isPageKey(event),
    });
  }
}

function sentenceOf(link: TerminalLink | null): string {
  if (link === null) return "Starting a terminal …";
  if (link.state === "joining") return "Connecting …";
  if (link.state === "lost") return "The connection is lost. The terminal goes on; taking it up again … ";
  if (link.state !== "ended") return "";
  if (link.problem !== null) return link.problem;
  return link.exitCode === null || link.exitCode < 0 ? "It ended." : `It ended with exit code ${link.exitCode}.`;
}
