// A button with a menu under it: arrow keys, Home, End, Escape, a click elsewhere closes it.

import { h, type Properties } from "./dom.js";

export interface MenuItem {
  label: string;
  detail?: string;
  href?: string;
  download?: string;
  act?: () => void;
}

export function menu(trigger: HTMLButtonElement, items: () => MenuItem[], properties: Properties = {}): HTMLElement {
  const list = h("div", { class: "menu", role: "menu", hidden: true });
  const root = h("div", { class: "menu-root", ...properties }, trigger, list);
  trigger.setAttribute("aria-haspopup", "menu");
  trigger.setAttribute("aria-expanded", "false");

  const close = (): void => {
    list.hidden = true;
    trigger.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside);
  };
  const outside = (event: Event): void => {
    if (!root.contains(event.target as Node)) close();
  };
  const open = (): void => {
    list.replaceChildren(...items().map((item) => entry(item, () => { close(); trigger.focus(); })));
    list.hidden = false;
    trigger.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside);
    list.querySelector<HTMLElement>("[role=menuitem]")?.focus();
  };
  trigger.addEventListener("click", () => (list.hidden ? open() : close()));
  root.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "Escape" || event.key === "Tab") {
      if (event.key === "Escape") event.stopPropagation();
      close();
      trigger.focus();
    } else if (moveFocus(list, event.key)) {
      event.preventDefault();
    }
  });
  return root;
}

function entry(item: MenuItem, done: () => void): HTMLElement {
  const text = [h("span", { class: "menu-label" }, item.label), item.detail ? h("span", { class: "menu-detail" }, item.detail) : null];
  if (item.href !== undefined && item.act === undefined) {
    return h("a", { role: "menuitem", href: item.href, download: item.download, onclick: done }, ...text);
  }
  return h("button", { type: "button", role: "menuitem", onclick: () => { done(); item.act?.(); } }, ...text);
}

function moveFocus(list: HTMLElement, key: string): boolean {
  const items = [...list.querySelectorAll<HTMLElement>("[role=menuitem]")];
  const at = items.indexOf(document.activeElement as HTMLElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[key];
  if (to === undefined) return false;
  items[(to + items.length) % items.length]?.focus();
  return true;
}
