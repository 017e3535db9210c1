// A button that puts text on the clipboard and says so.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const SAID_FOR = 1500;

export function copyButton(label: string, text: () => string): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet icon-button copy", title: label, "aria-label": label }, icon("copy"));
  button.addEventListener("click", () => {
    void copyText(text()).then((copied) => {
      button.replaceChildren(icon(copied ? "check" : "close"));
      button.setAttribute("aria-label", copied ? "Copied" : "The browser does not allow copying");
      setTimeout(() => {
        button.replaceChildren(icon("copy"));
        button.setAttribute("aria-label", label);
      }, SAID_FOR);
    });
  });
  return button;
}

export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // plain http on another host than localhost has no clipboard object
  }
}

function copyBySelection(text: string): boolean {
  const area = h("textarea", { class: "off-screen", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}
