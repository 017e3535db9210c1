// A terminal on the screen: bytes that a program wrote in, what a person types out. Holds xterm.js and is a chunk of its
// own, loaded when it is first wanted. What the program writes is a stranger's: it gets no title, no clipboard, no
// window, and its links only ask. Knows no network. Above: terminal_pane. Imports nothing of the page.

import { FitAddon } from "@xterm/addon-fit";
import { type ITheme, Terminal } from "@xterm/xterm";
import styles from "@xterm/xterm/css/xterm.css";

export type Colours = ITheme;

export interface EmulatorOptions {
  font: string;
  fontSize: number;
  colours: Colours;
  label: string; // for screen readers
  aloud: boolean; // told to screen readers; Tab then leaves the terminal, and an emoji picker cannot type
  describedBy: string; // the id of the sentence that tells how to leave it by keyboard
  typed(bytes: Uint8Array): void;
  resized(cols: number, rows: number): void;
  copied(text: string): void;
  openLink(url: string): void; // http or https
  key(event: KeyboardEvent): boolean; // false: the page took it
}

export type TouchKey = "Esc" | "Tab" | "^C" | "^D" | "Up" | "Down" | "Right" | "Left";

const CONTROLS: Partial<Record<TouchKey, string>> = { Esc: "\x1b", Tab: "\t", "^C": "\x03", "^D": "\x04" };
const ARROWS: Partial<Record<TouchKey, string>> = { Up: "A", Down: "B", Right: "C", Left: "D" };

export interface Size {
  cols: number;
  rows: number;
}

const sheet = new CSSStyleSheet();
sheet.replaceSync(styles);
document.adoptedStyleSheets.push(sheet);

const SCROLLBACK = 5000; // lines
const READABLE = 4.5; // WCAG AA; the 256 fixed colours are made for black paper
const PASTED_CONTROLS = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f]/g; // all but tab and line ends

export class Emulator {
  private readonly terminal: Terminal;
  private readonly fitting = new FitAddon();
  private readonly sizes: ResizeObserver;
  private replaying = 0; // writes of the past that are not on the screen yet
  private frozen = false;

  constructor(private readonly host: HTMLElement, private readonly options: EmulatorOptions) {
    this.terminal = new Terminal({
      fontFamily: options.font,
      fontSize: options.fontSize,
      lineHeight: 1.2,
      theme: options.colours,
      scrollback: SCROLLBACK,
      minimumContrastRatio: READABLE,
      cursorBlink: false,
      screenReaderMode: options.aloud,
      drawBoldTextInBrightColors: false,
      linkHandler: { activate: (_event, url) => { if (isWeb(url)) options.openLink(url); } },
    });
    this.terminal.loadAddon(this.fitting);
    this.terminal.open(host);
    const encoder = new TextEncoder();
    this.terminal.onData((text) => options.typed(encoder.encode(text)));
    this.terminal.onBinary((text) => options.typed(Uint8Array.from(text, (one) => one.charCodeAt(0))));
    this.terminal.onResize(({ cols, rows }) => options.resized(cols, rows));
    this.terminal.attachCustomKeyEventHandler((event) => this.key(event));
    this.terminal.textarea?.setAttribute("aria-label", options.label);
    this.terminal.textarea?.setAttribute("aria-describedby", options.describedBy);
    host.addEventListener("paste", (event) => this.pasteFrom(event), { capture: true });
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(host);
    this.fit();
  }

  get size(): Size {
    return { cols: this.terminal.cols, rows: this.terminal.rows };
  }

  // Resolves when the bytes are on the screen, so that a flood waits for it. `past`: a replay, whose questions to the
  // terminal (where is the cursor, which colours) were answered once and must not be typed again.
  write(bytes: Uint8Array, past: boolean): Promise<void> {
    if (past) this.replaying += 1;
    this.gate();
    return new Promise((done) => {
      this.terminal.write(bytes, () => {
        if (past) this.replaying -= 1;
        this.gate();
        done();
      });
    });
  }

  // As new: the replay that follows brings everything.
  clear(): void {
    this.terminal.reset();
  }

  // Nothing can be typed any more; what is there can be read and copied.
  freeze(): void {
    this.frozen = true;
    this.gate();
    this.terminal.write("\x1b[?25l"); // no cursor
  }

  focus(): void {
    this.terminal.focus();
  }

  paste(text: string): void {
    this.terminal.paste(text.replace(PASTED_CONTROLS, ""));
  }

  // What a key of a keyboard that has it would send.
  press(key: TouchKey): void {
    const lead = this.terminal.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[";
    this.terminal.input(CONTROLS[key] ?? `${lead}${ARROWS[key]}`, true);
  }

  readAloud(aloud: boolean): void {
    this.terminal.options.screenReaderMode = aloud;
  }

  colour(colours: Colours): void {
    this.terminal.options.theme = colours;
  }

  dispose(): void {
    this.sizes.disconnect();
    this.terminal.dispose();
  }

  private fit(): void {
    if (this.host.clientWidth > 0 && this.host.clientHeight > 0) this.fitting.fit(); // hidden: as it was
  }

  // Whether no one may type now: neither a person nor the terminal itself.
  private gate(): void {
    this.terminal.options.disableStdin = this.frozen || this.replaying > 0;
  }

  private key(event: KeyboardEvent): boolean {
    if (!this.options.key(event)) return false;
    const control = event.ctrlKey && !event.altKey && !event.metaKey;
    const name = event.key.toLowerCase();
    if (control && name === "c" && (event.shiftKey || this.terminal.hasSelection())) {
      event.preventDefault(); // Ctrl+Shift+C opens a browser's developer tools
      if (event.type === "keydown") this.copy();
      return false;
    }
    return !(control && event.shiftKey && name === "v"); // the browser pastes
  }

  private copy(): void {
    const text = this.terminal.getSelection();
    if (text === "") return;
    this.options.copied(text);
    this.terminal.clearSelection();
  }

  private pasteFrom(event: ClipboardEvent): void {
    event.preventDefault();
    event.stopPropagation();
    this.paste(event.clipboardData?.getData("text/plain") ?? "");
  }
}

function isWeb(url: string): boolean {
  return URL.canParse(url) && ["http:", "https:"].includes(new URL(url).protocol);
}
