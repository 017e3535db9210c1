// Short sentences in a corner: what failed, and a button to try again. Errors stay until they are closed or tried.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const STAYS = 6000;

export class Toasts {
  readonly element = h("div", { class: "toasts", role: "region", "aria-label": "Messages", "aria-live": "assertive" });

  error(sentence: string, retry?: () => void): void {
    for (const other of this.element.children) if (other.getAttribute("data-says") === sentence) other.remove();
    const toast = h("div", { class: "toast toast-error", "data-says": sentence }, h("p", {}, sentence));
    if (retry) {
      toast.append(h("button", { type: "button", class: "link", onclick: () => { toast.remove(); retry(); } }, "Try again"));
    }
    toast.append(h("button", { type: "button", class: "quiet icon-button", "aria-label": "Close this message", onclick: () => toast.remove() }, icon("close")));
    this.element.append(toast);
  }

  say(sentence: string, offer?: { label: string; act: () => void }): void {
    const toast = h("div", { class: "toast" }, h("p", {}, sentence));
    if (offer) toast.append(h("button", { type: "button", class: "link", onclick: () => { toast.remove(); offer.act(); } }, offer.label));
    this.element.append(toast);
    setTimeout(() => toast.remove(), offer ? 2 * STAYS : STAYS);
  }

  clear(): void {
    this.element.replaceChildren();
  }
}
