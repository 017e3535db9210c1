// A stream of text in a cell: colours, settled progress bars, and a middle that folds away when it is long.
// Stays the same element while the text grows, so that an opened fold stays open.

import { AnsiPainter } from "../render/ansi.js";
import { settle } from "../render/terminal.js";
import { h } from "./dom.js";

const HEAD = 24;
const TAIL = 10;
const LONGEST_LINE = 4000;
const LONGEST_TEXT = 2_000_000;

export class TextOutput {
  readonly element: HTMLElement;
  private expanded = false;
  private text = "";

  constructor(kind: "stdout" | "stderr" | "plain" | "traceback") {
    this.element = h("div", { class: `out-text out-${kind}` });
  }

  update(text: string): void {
    this.text = text;
    const lines = settle(text.length > LONGEST_TEXT ? text.slice(-LONGEST_TEXT) : text).replace(/\n$/, "").split("\n");
    const shown = this.expanded ? lines : lines.map(shorten);
    const hidden = this.expanded ? 0 : shown.length - HEAD - TAIL;
    const painter = new AnsiPainter();
    if (hidden > 5) {
      const head = this.block(painter.paint(shown.slice(0, HEAD).join("\n")));
      painter.paint(shown.slice(HEAD, -TAIL).join("\n")); // for the colours that it leaves in force
      this.element.replaceChildren(head, this.fold(lines.length, hidden), this.block(painter.paint(shown.slice(-TAIL).join("\n"))));
    } else {
      const folded = shown.some((line, index) => line !== lines[index]);
      this.element.replaceChildren(this.block(painter.paint(shown.join("\n"))));
      if (folded || (this.expanded && lines.length > HEAD + TAIL + 5)) this.element.append(this.fold(lines.length, 0));
    }
    if (text.length > LONGEST_TEXT) {
      this.element.prepend(h("p", { class: "out-note" }, "The beginning is left out here; the downloaded notebook has it all."));
    }
  }

  private block(content: Node): HTMLElement {
    return h("pre", {}, content);
  }

  private fold(lines: number, hidden: number): HTMLElement {
    const label = this.expanded ? "Show less" : hidden > 0 ? `Show all ${lines.toLocaleString()} lines` : "Show whole lines";
    return h("button", {
      type: "button", class: "fold", "aria-expanded": String(this.expanded),
      onclick: () => {
        this.expanded = !this.expanded;
        this.update(this.text);
        this.element.querySelector<HTMLElement>(".fold")?.focus({ preventScroll: true });
      },
    }, label);
  }
}

function shorten(line: string): string {
  return line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} … and ${line.length - LONGEST_LINE} more characters` : line;
}
