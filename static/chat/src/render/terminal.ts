// What a terminal would show of a stream: carriage returns, backspaces, cursor-up and erase-line settle as progress
// bars mean them; colours (SGR) stay in the text for ansi.ts. Other control sequences are dropped.

const CONTROL = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\^_]|[\r\n\b]/g;
const NEEDS_SETTLING = /[\r\b]|\x1b\[[0-9;]*[A-HJKST]/;

const LONGEST_STYLE = 200; // a program that never resets its colours must not grow each glyph's record

interface Glyph {
  style: string; // the SGR sequences in force where it was written
  text: string;
}

export function settle(text: string): string {
  const unix = text.replaceAll("\r\n", "\n");
  return NEEDS_SETTLING.test(unix) ? new Screen().write(unix).text() : unix;
}

class Screen {
  private lines: Glyph[][] = [[]];
  private row = 0;
  private column = 0;
  private style = "";

  write(text: string): this {
    let at = 0;
    for (const match of text.matchAll(CONTROL)) {
      this.put(text.slice(at, match.index));
      at = match.index + match[0].length;
      this.control(match[0]);
    }
    this.put(text.slice(at));
    return this;
  }

  text(): string {
    return this.lines.map(lineText).join("\n");
  }

  private put(text: string): void {
    const line = this.lines[this.row] ?? [];
    for (const character of text) {
      while (line.length < this.column) line.push({ style: "", text: " " });
      line[this.column] = { style: this.style, text: character };
      this.column += 1;
    }
  }

  private control(sequence: string): void {
    if (sequence === "\n") this.moveTo(this.row + 1, 0);
    else if (sequence === "\r") this.column = 0;
    else if (sequence === "\b") this.column = Math.max(0, this.column - 1);
    else if (sequence.startsWith("\x1b[")) this.escape(sequence.at(-1) ?? "", sequence.slice(2, -1), sequence);
  }

  private escape(final: string, argument: string, sequence: string): void {
    const count = Math.min(Number.parseInt(argument, 10) || 1, 10_000);
    if (final === "m") this.style = /^0*(?:;|$)/.test(argument) ? sequence : (this.style + sequence).slice(-LONGEST_STYLE);
    else if (final === "A") this.moveTo(Math.max(0, this.row - count), this.column);
    else if (final === "B") this.moveTo(Math.min(this.row + count, this.lines.length - 1), this.column);
    else if (final === "C") this.column += Math.min(count, 500);
    else if (final === "D") this.column = Math.max(0, this.column - count);
    else if (final === "G") this.column = Math.min(count, 500) - 1;
    else if (final === "K") this.erase(argument);
    else if (final === "J" && argument.startsWith("2")) this.lines.forEach((line) => (line.length = 0));
  }

  private moveTo(row: number, column: number): void {
    while (this.lines.length <= row) this.lines.push([]);
    this.row = row;
    this.column = column;
  }

  private erase(argument: string): void {
    const line = this.lines[this.row];
    if (line === undefined) return;
    if (argument === "" || argument === "0") line.length = Math.min(line.length, this.column);
    else line.length = 0;
  }
}

function lineText(line: Glyph[]): string {
  let text = "";
  let style = "";
  for (const glyph of line) {
    if (glyph.style !== style) text += glyph.style === "" ? "\x1b[0m" : `\x1b[0m${glyph.style}`;
    style = glyph.style;
    text += glyph.text;
  }
  return style === "" ? text : `${text}\x1b[0m`;
}
