// The page's dialogs: a key to enter, a picture enlarged, a question before something is closed, the shortcuts.
// All are <dialog>, so that focus stays inside and Escape closes.

import { h } from "./dom.js";
import { icon } from "./icons.js";

function show(dialog: HTMLDialogElement): void {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function closeButton(dialog: () => HTMLDialogElement): HTMLElement {
  return h("button", { type: "button", class: "quiet icon-button dialog-close", "aria-label": "Close", onclick: () => dialog().close() }, icon("close"));
}

// Resolves with the key; the page can do nothing without one, so there is no cancel.
export function askForKey(wrong: boolean): Promise<string> {
  return new Promise((resolve) => {
    const field = h("input", { type: "password", id: "key", autocomplete: "off", required: true, spellcheck: "false" });
    const form = h("form", { class: "dialog-body" },
      h("h2", {}, "Enter your key"),
      h("p", {}, wrong ? "That key was not accepted. " : "The service does not know you yet. ",
        "The key was printed when the service started: it stands in the address of this page, after “?token=”. An operator makes further ones with ",
        h("code", {}, "podflare-nb keys create"), "."),
      h("label", { for: "key" }, "Key"), field,
      h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Open my notebooks")));
    const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": "Enter your key", oncancel: (event) => event.preventDefault() }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      resolve(field.value.trim());
    });
    show(dialog);
  });
}

export function confirmDialog(title: string, body: string, action: string): Promise<boolean> {
  return new Promise((resolve) => {
    let answer = false;
    const decide = (yes: boolean): void => {
      answer = yes;
      dialog.close();
    };
    const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": title, onclose: () => resolve(answer) },
      h("div", { class: "dialog-body" }, h("h2", {}, title), h("p", {}, body),
        h("div", { class: "row" },
          h("button", { type: "button", class: "primary", onclick: () => decide(true) }, action),
          h("button", { type: "button", class: "secondary", onclick: () => decide(false) }, "Keep it"))));
    show(dialog);
  });
}

export function enlarge(picture: HTMLImageElement): void {
  const download = h("a", { class: "secondary button", href: picture.src, download: nameOf(picture.src) }, icon("download"), "Save the picture");
  const dialog: HTMLDialogElement = h("dialog", { class: "dialog lightbox", "aria-label": picture.alt },
    closeButton(() => dialog), h("img", { src: picture.src, alt: picture.alt }), h("div", { class: "row" }, download));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  show(dialog);
}

function nameOf(source: string): string {
  const type = /^data:image\/([a-z]+)/.exec(source)?.[1] ?? "png";
  return `picture.${type === "jpeg" ? "jpg" : type}`;
}

export const SHORTCUTS: [string, string][] = [
  ["Enter", "send the message"],
  ["Shift + Enter", "a new line"],
  ["↑ in an empty message", "the last message again"],
  ["Esc", "stop what runs"],
  ["Ctrl + K", "new sandbox"],
  ["Ctrl + /", "to the message field"],
  ["?", "this list"],
];

export function showShortcuts(): void {
  const rows = SHORTCUTS.flatMap(([keys, does]) => [h("dt", {}, keys), h("dd", {}, does)]);
  const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": "Keyboard" },
    closeButton(() => dialog), h("div", { class: "dialog-body" }, h("h2", {}, "Keyboard"), h("dl", { class: "shortcuts" }, ...rows)));
  show(dialog);
}
