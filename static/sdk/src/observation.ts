// From what a run put out to what a model is told of it: plain text with a bound, and a few images.
//
// The same view as podflare_nb/protocol/observation.py makes for the service's own agent and for Python's frameworks.
// The notebook records everything. Escape sequences are taken out, a progress bar leaves its last state, and of a
// long text the head and the tail stay, with a line that tells how much was cut.

import { type ExecResult, type Image, joined, type Result, stripAnsi } from "./result.js";

/** Characters of one run that a model is given. */
export const DEFAULT_LIMIT = 8_000;
const MAX_IMAGES = 4;
/** Per image; the smallest limit among the providers. */
const MAX_IMAGE_BASE64 = 5_000_000;
const TEXT_TYPES = ["text/plain", "text/markdown", "text/latex", "application/json", "text/html"];

export interface Observed {
  /** Never empty. */
  readonly text: string;
  readonly images: readonly Image[];
}

/** The model's view of a run that is over. */
export function observe(result: ExecResult, limit = DEFAULT_LIMIT): Observed {
  const images: Image[] = [];
  const shown = result.results.flatMap((one) => shownOf(one, images));
  const output = shorten([...plain(result.stdout), ...shown, ...plain(result.stderr)].join("\n"), limit);
  const told = [...result.notices.map((notice) => notice.message), endingOf(result), output.replace(/^\n+|\n+$/g, "")];
  return { text: told.filter(Boolean).join("\n") || "(no output)", images };
}

/** Head and tail of a text that is longer than `limit`, with a line between them that says what was cut. */
export function shorten(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const headLength = Math.floor((limit * 2) / 3);
  // Half of a character is none.
  const head = text.slice(0, headLength).replace(/[\ud800-\udbff]$/, "");
  const tail = text.slice(text.length - (limit - headLength)).replace(/^[\udc00-\udfff]/, "");
  const count = (characters: number) => characters.toLocaleString("en-US");
  return `${head}\n[... ${count(text.length - head.length - tail.length)} of ${count(text.length)} characters cut here ...]\n${tail}`;
}

/** The text of a stream; of a line that is rewritten by carriage returns its last state. None for an empty one. */
function plain(text: string): string[] {
  if (!text) return [];
  const lines = stripAnsi(text).replaceAll("\r\n", "\n").split("\n");
  return [lines.map((line) => line.replace(/\r+$/, "").replace(/^.*\r/s, "")).join("\n")];
}

function shownOf(result: Result, images: Image[]): string[] {
  const type = TEXT_TYPES.find((each) => each in result.data);
  const text = type === undefined ? [] : [stripAnsi(textOf(result.data[type])).replace(/\n+$/, "")];
  const { image } = result;
  if (!image)
    return "image/svg+xml" in result.data ? [...text, "[image/svg+xml: shown to the user, not to you]"] : text;
  const { mediaType, data } = image;
  if (data.length > MAX_IMAGE_BASE64) {
    const bytes = Math.floor((data.length * 3) / 4).toLocaleString("en-US");
    return [...text, `[${mediaType} of ${bytes} bytes: shown to the user, too big for you]`];
  }
  if (images.length >= MAX_IMAGES) {
    return [...text, `[${mediaType}: shown to the user; you are given the first ${MAX_IMAGES} of a run]`];
  }
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(data)) return [...text, `[${mediaType} that is not valid base64]`];
  images.push(image);
  return text;
}

function textOf(value: unknown): string {
  return typeof value === "string" || Array.isArray(value) ? joined(value) : JSON.stringify(value);
}

const ENDINGS: Readonly<Record<string, string>> = {
  interrupted: "The code was interrupted.",
  timeout: "The code was stopped at its time limit.",
  died: "The kernel died while the code ran.",
};

function endingOf(result: ExecResult): string {
  if (result.status === "ok") return "";
  return [
    ENDINGS[result.status] ?? `The code failed (exit code ${result.exitCode}).`,
    result.message,
    result.statePreserved ? "" : "The kernel was started anew: variables are gone, files are still there.",
  ]
    .filter(Boolean)
    .join(" ");
}
