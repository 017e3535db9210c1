// The outputs of one cell and how a further output changes them: streams grow, displays are updated in place,
// clear_output empties (at once, or when the next output comes). Holds no text processing: render/ does that.
// Above: transcript. Below: wire.

import type { ErrorOutput, Output, RichOutput } from "./wire.js";

export type ShownOutput =
  | { kind: "stream"; name: "stdout" | "stderr"; text: string }
  | { kind: "rich"; output: RichOutput }
  | { kind: "error"; output: ErrorOutput };

// `key` names the place on the page, `version` counts its changes: a view redraws only what moved.
export interface OutputItem {
  key: number;
  version: number;
  shown: ShownOutput;
}

export class CellOutputs {
  readonly items: OutputItem[] = [];
  private nextKey = 0;
  private clearPending = false;

  add(output: Output): void {
    if (output.output_type === "clear_output") {
      if (output.wait) this.clearPending = true;
      else this.items.length = 0;
      return;
    }
    if (output.output_type === "update_display_data") {
      this.update(output);
      return;
    }
    if (this.clearPending) {
      this.items.length = 0;
      this.clearPending = false;
    }
    if (output.output_type === "stream") this.addText(output.name, textOf(output.text));
    else if (output.output_type === "error") this.push({ kind: "error", output });
    else this.push({ kind: "rich", output });
  }

  // Whether they show the same. Ids of displays do not count, which a notebook does not keep.
  shows(other: CellOutputs): boolean {
    return JSON.stringify(this.items.map(told)) === JSON.stringify(other.items.map(told));
  }

  // True when one of this cell's displays carries the id.
  update(changed: RichOutput): boolean {
    const id = changed.transient?.display_id;
    let found = false;
    for (const item of this.items) {
      if (item.shown.kind !== "rich" || id === undefined || item.shown.output.transient?.display_id !== id) continue;
      item.shown = { kind: "rich", output: { ...item.shown.output, data: changed.data } };
      item.version += 1;
      found = true;
    }
    return found;
  }

  private addText(name: "stdout" | "stderr", text: string): void {
    const last = this.items.at(-1);
    if (last?.shown.kind === "stream" && last.shown.name === name) {
      last.shown.text += text;
      last.version += 1;
    } else {
      this.push({ kind: "stream", name, text });
    }
  }

  private push(shown: ShownOutput): void {
    this.items.push({ key: this.nextKey++, version: 0, shown });
  }
}

function told({ shown }: OutputItem): unknown {
  if (shown.kind === "stream") return [shown.name, shown.text];
  if (shown.kind === "error") return [shown.output.ename, shown.output.evalue, shown.output.traceback];
  const data = Object.entries(shown.output.data).map(([mime, value]) => [mime, textOf(value) || value]);
  return [shown.output.output_type, data, shown.output.metadata ?? {}];
}

// nbformat writes multi-line strings as lists of lines.
export function textOf(value: unknown): string {
  if (Array.isArray(value)) return value.join("");
  return typeof value === "string" ? value : "";
}
