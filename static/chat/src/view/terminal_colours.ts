// The colours and the font of the page, resolved for the terminal emulator, which cannot read CSS: the sixteen are those
// that text with ANSI colours has in a cell. Tells when the page goes from light to dark or back.

import type { Colours } from "../emulator/emulator.js";
import { h } from "./dom.js";

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;

export function coloursNow(): Colours {
  const probe = h("span", { hidden: true });
  document.body.append(probe);
  const classed = (name: string): string => {
    probe.className = name;
    return getComputedStyle(probe).color;
  };
  const named = (token: string): string => {
    probe.style.color = `var(--${token})`;
    return getComputedStyle(probe).color;
  };
  const colours: Record<string, string> = {};
  for (const name of NAMES) {
    colours[name] = classed(`ansi-${name}-fg`);
    colours[`bright${name[0]?.toUpperCase()}${name.slice(1)}`] = classed(`ansi-bright-${name}-fg`);
  }
  Object.assign(colours, {
    background: named("card"), foreground: named("ink"), cursor: named("flare"), cursorAccent: named("card"), selectionBackground: named("selection"),
    scrollbarSliderBackground: named("line"), scrollbarSliderHoverBackground: named("line-strong"), scrollbarSliderActiveBackground: named("line-strong"),
  });
  probe.remove();
  return colours;
}

export function monospace(): string {
  return getComputedStyle(document.documentElement).getPropertyValue("--mono").trim();
}

export function onNewColours(act: () => void): void {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
  new MutationObserver(act).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
}
