// The line between a panel and what is above it: dragged, or moved by the arrow keys; the height is kept.

import { h } from "./dom.js";

const LEAST = 120; // pixels
const MOST = 0.8; // of the window's height
const STEP = 24;
const BY_DEFAULT = 300;
const KEY = "podflare.terminals.height";

export function verticalSplitter(label: string, storage: Storage, panel: () => HTMLElement): HTMLElement {
  let height = Number(storage.getItem(KEY)) || BY_DEFAULT;
  const line = h("div", { class: "splitter", role: "separator", "aria-orientation": "horizontal", "aria-label": label, tabindex: "0", "aria-valuemin": LEAST });
  const most = (): number => Math.round(window.innerHeight * MOST);
  const put = (wanted: number): void => {
    height = Math.round(Math.max(LEAST, Math.min(wanted, most())));
    panel().style.setProperty("--height", `${height}px`);
    line.setAttribute("aria-valuenow", String(height));
    line.setAttribute("aria-valuemax", String(most()));
  };
  const keep = (): void => storage.setItem(KEY, String(height));
  line.addEventListener("pointerdown", (event) => {
    const { height: before } = panel().getBoundingClientRect();
    const from = event.clientY;
    const drag = (move: PointerEvent): void => put(before + from - move.clientY);
    event.preventDefault();
    line.setPointerCapture(event.pointerId);
    line.addEventListener("pointermove", drag);
    line.addEventListener("lostpointercapture", () => { line.removeEventListener("pointermove", drag); keep(); }, { once: true });
  });
  line.addEventListener("keydown", (event) => {
    const wanted = { ArrowUp: height + STEP, ArrowDown: height - STEP, Home: LEAST, End: most() }[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    put(wanted);
    keep();
  });
  queueMicrotask(() => put(height)); // when the panel is there
  return line;
}
