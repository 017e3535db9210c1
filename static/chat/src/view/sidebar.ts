// My sandboxes: newest first, closed ones greyed but readable, and the button for a new one. Above: page.

import type { SandboxInfo, TemplateInfo } from "../core/wire.js";
import { ago } from "./clock.js";
import { h } from "./dom.js";
import { icon, mark } from "./icons.js";
import { menu } from "./menu.js";
import { titleOf } from "./title.js";

export interface SidebarActions {
  open(id: string): void;
  create(template: string | null): void;
  createWithOptions(): void;
  close(sandbox: SandboxInfo): void;
  more(): void;
  shortcuts(): void;
}

const STATES: Record<string, string> = { ready: "ready", busy: "running", closing: "closing", closed: "closed" };

export class Sidebar {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "sandboxes" });
  private readonly foot = h("p", { class: "sidebar-note" });
  private templates: TemplateInfo[] = [];
  private drawn = "";

  constructor(private readonly actions: SidebarActions, themeButton: HTMLElement) {
    const create = h("button", { type: "button", class: "new", title: "New sandbox (Ctrl+K)", onclick: () => actions.create(null) }, icon("plus"), "New sandbox");
    const pick = h("button", { type: "button", class: "new-template", "aria-label": "New sandbox from a template", title: "Choose a template" }, icon("chevron"));
    const keys = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Keyboard shortcuts", title: "Keyboard shortcuts", onclick: () => actions.shortcuts() }, icon("keyboard"));
    this.element = h("nav", { class: "sidebar", id: "sidebar", "aria-label": "My sandboxes" },
      h("div", { class: "brand" }, mark(), h("span", { class: "wordmark" }, "podflare", h("i", {}, "nb"))),
      h("div", { class: "new-row" }, create, menu(pick, () => this.templateItems())),
      this.list,
      h("div", { class: "sidebar-foot" }, this.foot, keys, themeButton));
  }

  setTemplates(templates: TemplateInfo[]): void {
    this.templates = templates;
  }

  setNote(note: string): void {
    this.foot.textContent = note;
  }

  update(sandboxes: SandboxInfo[], openId: string | null, hasMore: boolean, now: number): void {
    const families = new Families(sandboxes);
    const drawn = JSON.stringify([sandboxes.map((one) => [one.id, one.state, one.title, one.forked_from?.sandbox_id, ago(activeAt(one), now)]), openId, hasMore]);
    if (drawn === this.drawn) return; // keeps the focus and the hover where they are
    this.drawn = drawn;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["key"] : undefined;
    const firstOfOpen = families.firstOf(openId);
    this.list.replaceChildren(...families.firsts.map((one) => this.entry(one, one.id === firstOfOpen, families.liveBranches(one.id), openId, now)));
    if (sandboxes.length === 0) this.list.append(h("li", { class: "none" }, "Nothing here yet."));
    if (hasMore) this.list.append(h("li", {}, h("button", { type: "button", class: "link", onclick: () => this.actions.more() }, "Older ones")));
    if (focused) this.list.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
  }

  private entry(sandbox: SandboxInfo, open: boolean, branches: number, openId: string | null, now: number): HTMLElement {
    const over = sandbox.state === "closed" || sandbox.state === "closing";
    const title = titleOf(sandbox.title);
    const link = h("a", {
      href: `#${sandbox.id}`, class: "sandbox-link", "aria-current": open ? (sandbox.id === openId ? "page" : "true") : undefined, title: sandbox.title ?? title, "data-key": sandbox.id,
      onclick: (event) => { event.preventDefault(); this.actions.open(sandbox.id); },
    },
      h("span", { class: "sandbox-title" }, title),
      h("span", { class: "sandbox-detail" }, h("span", { class: "dot", role: "img", "aria-label": STATES[sandbox.state] ?? sandbox.state, title: STATES[sandbox.state] ?? "" }),
        sandbox.template, " · ", ago(activeAt(sandbox), now),
        branches > 0 ? h("span", { class: "branch-count", title: branches === 1 ? "1 branch" : `${branches} branches` }, icon("branch"), String(branches)) : null));
    const close = h("button", {
      type: "button", class: "quiet icon-button", "aria-label": `Close ${title}`, title: "Close this sandbox", "data-key": `${sandbox.id}-close`,
      onclick: () => this.actions.close(sandbox),
    }, icon("close"));
    return h("li", { class: "sandbox", "data-state": sandbox.state }, link, over ? null : close);
  }

  private templateItems(): { label: string; detail: string; act: () => void }[] {
    return this.templates.map((template) => ({
      label: template.display_name + (template.default ? " (default)" : ""),
      detail: template.state === "failed" ? "could not be loaded" : template.description,
      act: () => this.actions.create(template.name),
    })).concat({ label: "With options …", detail: "turns to keep for going back", act: () => this.actions.createWithOptions() });
  }
}

// Branches stand in the list under the sandbox that their family began with, as far as the list holds it.
class Families {
  readonly firsts: SandboxInfo[];
  private readonly byId: Map<string, SandboxInfo>;

  constructor(private readonly sandboxes: SandboxInfo[]) {
    this.byId = new Map(sandboxes.map((one) => [one.id, one]));
    this.firsts = sandboxes.filter((one) => this.firstOf(one.id) === one.id);
  }

  firstOf(id: string | null): string | null {
    const seen = new Set<string>(); // the service makes no circles; a page must not hang on one
    for (let at = this.byId.get(id ?? ""); at !== undefined && !seen.has(at.id); seen.add(at.id), id = at.id, at = this.byId.get(at.forked_from?.sandbox_id ?? ""));
    return id;
  }

  liveBranches(first: string): number {
    return this.sandboxes.filter((one) => one.id !== first && one.state !== "closed" && this.firstOf(one.id) === first).length;
  }
}

function activeAt(sandbox: SandboxInfo): number {
  return Date.parse(sandbox.last_active_at ?? sandbox.created_at);
}
