// The outputs of one cell as elements: redraws only the ones whose version moved. Above: cell_view.

import type { CellOutputs, OutputItem } from "../core/outputs.js";
import { textOf } from "../core/outputs.js";
import type { ErrorOutput, RichOutput } from "../core/wire.js";
import { rich } from "../render/rich.js";
import { h } from "./dom.js";
import { TextOutput } from "./text_output.js";

interface Drawn {
  version: number;
  element: HTMLElement;
  update(item: OutputItem): void;
}

export class OutputsView {
  readonly element = h("div", { class: "outputs" });
  private drawn = new Map<number, Drawn>();
  private owner: CellOutputs | null = null;

  update(outputs: CellOutputs): void {
    if (this.owner !== outputs) this.drawn.clear();
    this.owner = outputs;
    const keep = new Set(outputs.items.map((item) => item.key));
    for (const key of [...this.drawn.keys()]) if (!keep.has(key)) this.drawn.delete(key);
    const elements = outputs.items.map((item) => this.draw(item));
    const same = elements.length === this.element.children.length && elements.every((element, at) => element === this.element.children[at]);
    if (!same) this.element.replaceChildren(...elements);
    this.element.hidden = elements.length === 0;
  }

  private draw(item: OutputItem): HTMLElement {
    const known = this.drawn.get(item.key);
    if (known) {
      if (known.version !== item.version) known.update(item);
      known.version = item.version;
      return known.element;
    }
    const drawn = item.shown.kind === "stream" ? stream(item) : whole(item);
    this.drawn.set(item.key, drawn);
    return drawn.element;
  }
}

function stream(item: OutputItem): Drawn {
  const text = new TextOutput(item.shown.kind === "stream" ? item.shown.name : "stdout");
  const update = ({ shown }: OutputItem): void => {
    if (shown.kind === "stream") text.update(shown.text);
  };
  update(item);
  return { version: item.version, element: text.element, update };
}

// Anything but a stream is replaced as a whole inside its own frame.
function whole(item: OutputItem): Drawn {
  const element = h("div", { class: "output" });
  const update = ({ shown }: OutputItem): void => {
    if (shown.kind === "rich") element.replaceChildren(richOutput(shown.output));
    else if (shown.kind === "error") element.replaceChildren(errorOutput(shown.output));
  };
  update(item);
  return { version: item.version, element, update };
}

function richOutput(output: RichOutput): HTMLElement {
  const element = rich(output.data, output.metadata ?? {});
  if (element !== null) return element;
  const text = new TextOutput("plain");
  text.update(textOf(output.data["text/plain"]) || `(no way to show ${Object.keys(output.data).join(", ")} here)`);
  return text.element;
}

const OPEN_TRACEBACK = 30;

function errorOutput(output: ErrorOutput): HTMLElement {
  const title = h("p", { class: "error-title" }, h("strong", {}, output.ename), output.evalue ? `: ${output.evalue}` : "");
  const lines = output.traceback.join("\n");
  const element = h("div", { class: "out-error", role: "group", "aria-label": "Error" }, title);
  if (lines.trim() === "") return element;
  const text = new TextOutput("traceback");
  text.update(lines);
  const details = h("details", {}, h("summary", {}, "Traceback"), text.element);
  details.open = lines.split("\n").length <= OPEN_TRACEBACK;
  element.append(details);
  return element;
}
