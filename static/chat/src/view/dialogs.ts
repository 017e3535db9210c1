// The page's dialogs: a key to enter, a picture enlarged, a question before something is closed, the shortcuts.
// All are <dialog>, so that focus stays inside and Escape closes.

import type { Egress, TemplateInfo } from "../core/wire.js";
import { h } from "./dom.js";
import { egressField } from "./egress.js";
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

export interface NewSandbox {
  template: string;
  checkpoints: number;
  egress: Egress | undefined;
}

// Resolves with what was chosen, or null.
export function newSandboxDialog(templates: TemplateInfo[]): Promise<NewSandbox | null> {
  return new Promise((resolve) => {
    let chosen: NewSandbox | null = null;
    const template = h("select", { id: "new-template" }, ...templates.map((one) => h("option", { value: one.name, selected: one.default }, one.display_name)));
    const checkpoints = h("input", { type: "number", id: "new-checkpoints", min: "0", max: String(MOST_CHECKPOINTS), step: "1", value: "10", required: true });
    const egress = egressField(undefined);
    const form = h("form", { class: "dialog-body" }, h("h2", {}, "New sandbox"),
      h("label", { for: "new-template" }, "Template"), template, ...egress.elements,
      h("label", { for: "new-checkpoints" }, "Turns to keep"), checkpoints,
      h("p", { id: "new-explains" }, "You can go back to each of the last so many turns: variables, files and notebook become what they were when it ended. 0 keeps none."),
      h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Create it"),
        h("button", { type: "button", class: "secondary", onclick: () => dialog.close() }, "Cancel")));
    checkpoints.setAttribute("aria-describedby", "new-explains");
    const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": "New sandbox", onclose: () => resolve(chosen) }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      chosen = { template: template.value, checkpoints: Number(checkpoints.value), egress: egress.value() };
      dialog.close();
    });
    show(dialog);
  });
}

// Resolves with what was chosen, or null.
export function egressDialog(now: Egress): Promise<Egress | null> {
  return new Promise((resolve) => {
    let chosen: Egress | null = null;
    const egress = egressField(now);
    const form = h("form", { class: "dialog-body" }, h("h2", {}, "Network"), ...egress.elements,
      h("p", {}, "It holds at once, and for all branches of this sandbox."),
      h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Change it"),
        h("button", { type: "button", class: "secondary", onclick: () => dialog.close() }, "Cancel")));
    const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": "Network", onclose: () => resolve(chosen) }, form);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      chosen = egress.value() ?? null;
      dialog.close();
    });
    show(dialog);
  });
}

const MOST_CHECKPOINTS = 100; // the service's limit

export function confirmDialog(title: string, body: string, action: string, otherwise = "Keep it"): Promise<boolean> {
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
          h("button", { type: "button", class: "secondary", onclick: () => decide(false) }, otherwise))));
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
  ["Ctrl + `", "open the terminals, go there, leave them"],
  ["Ctrl + Shift + C, V", "copy and paste in a terminal"],
  ["?", "this list"],
];

export function showShortcuts(): void {
  const rows = SHORTCUTS.flatMap(([keys, does]) => [h("dt", {}, keys), h("dd", {}, does)]);
  const dialog: HTMLDialogElement = h("dialog", { class: "dialog", "aria-label": "Keyboard" },
    closeButton(() => dialog), h("div", { class: "dialog-body" }, h("h2", {}, "Keyboard"), h("dl", { class: "shortcuts" }, ...rows)));
  show(dialog);
}
