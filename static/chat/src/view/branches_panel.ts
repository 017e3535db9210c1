// The tree of branches of the open sandbox: fork, switch, compare, merge, close. Above: page. Below: core/family.

import type { Family, Member } from "../core/family.js";
import { ago } from "./clock.js";
import { h } from "./dom.js";
import { icon, type IconName } from "./icons.js";
import { menu } from "./menu.js";

export interface BranchesActions {
  open(id: string): void;
  fork(n: number): void;
  compare(one: Member, other: Member): void;
  merge(member: Member): void;
  close(member: Member): void;
  hide(): void;
}

export interface BranchesState {
  openId: string | null;
  live: boolean; // the open sandbox can be forked
  forking: boolean;
  problem: string | null;
  now: number;
}

const SIZES = [1, 2, 3, 5];

export class BranchesPanel {
  readonly element: HTMLElement;
  private readonly forkButton = h("button", { type: "button", class: "primary fork-button" });
  private readonly intro = h("p", { class: "branches-intro" });
  private readonly tree = h("ul", { class: "tree", "aria-label": "Branches" });
  private drawn = "";
  private forkedFromHere = false;
  private pressed = false;
  private held: BranchesState | null = null; // what is to be drawn when nothing is pressed any more

  constructor(private readonly family: Family, private readonly actions: BranchesActions) {
    const fork = menu(this.forkButton, () => SIZES.map((n) => ({ label: n === 1 ? "One branch" : `${n} branches`, act: () => actions.fork(n) })));
    this.element = h("aside", { class: "side-panel branches-panel", id: "branches-panel", "aria-label": "Branches of the sandbox", hidden: true },
      h("header", {}, h("h2", {}, "Branches"), h("span", { class: "grow" }), fork, button("close", "Hide the branches", () => actions.hide())),
      this.intro, this.tree);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // outside of here it stops what runs
      actions.hide();
    });
    this.tree.addEventListener("pointerdown", () => { this.pressed = true; });
    for (const end of ["pointerup", "pointercancel"]) window.addEventListener(end, () => setTimeout(() => this.release())); // behind the click
  }

  // Where the keyboard goes when the panel opens.
  focus(): void {
    (this.tree.querySelector<HTMLElement>("[aria-current]") ?? this.element.querySelector<HTMLElement>("button:enabled"))?.focus();
  }

  update(state: BranchesState): void {
    if (this.element.hidden) return;
    this.held = this.pressed ? state : null; // drawn anew between press and release, what is pressed would hear of no click
    if (this.held) return;
    const members = this.family.all;
    const drawn = JSON.stringify([state.openId, state.live, state.forking, state.problem, members.map((one) => [one.id, one.state, one.merged_into, one.n_cells, when(one, state.now)])]);
    if (drawn === this.drawn) return; // keeps the focus where it is
    this.drawn = drawn;
    if (state.forking) this.forkedFromHere ||= document.activeElement === this.forkButton; // disabled it loses the focus
    this.forkButton.disabled = !state.live || state.forking;
    this.forkButton.replaceChildren(state.forking ? h("span", { class: "spinner" }) : icon("branch"), state.forking ? "Forking …" : "Fork");
    this.intro.textContent = state.problem ?? intro(state, members.length);
    this.intro.hidden = this.intro.textContent === "";
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["key"] : undefined;
    this.tree.replaceChildren(...this.family.roots.map((root) => this.node(root, state)));
    this.tree.hidden = members.length === 0;
    if (focused) (this.keyed(focused) ?? this.keyed(focused.replace(/-.*/, "")))?.focus(); // a button that is gone leaves it to its row
    if (this.forkedFromHere && !state.forking) {
      this.forkedFromHere = false;
      if (document.activeElement === document.body) this.forkButton.focus();
    }
  }

  private release(): void {
    this.pressed = false;
    if (this.held) this.update(this.held);
  }

  private keyed(key: string): HTMLElement | null {
    return this.tree.querySelector<HTMLElement>(`[data-key="${key}"]`);
  }

  private node(member: Member, state: BranchesState): HTMLLIElement {
    const open = member.id === state.openId;
    const link = h("a", {
      href: `#${member.id}`, class: "branch-link", title: open ? undefined : `Switch to ${member.name}`, "aria-current": open ? "page" : undefined, "data-key": member.id,
      onclick: (event) => { event.preventDefault(); this.actions.open(member.id); },
    }, h("span", { class: "branch-name" }, member.name, h("code", {}, shortId(member.id))), h("span", { class: "branch-detail" }, this.detail(member, state.now)));
    const row = h("div", { class: "branch-row", "data-state": stateOf(member) }, h("span", { class: "knot", "aria-hidden": "true" }), link, h("span", { class: "branch-tools" }, ...this.tools(member, open, state)));
    return h("li", {}, row, member.children.length === 0 ? null : h("ul", {}, ...member.children.map((child) => this.node(child, state))));
  }

  private tools(member: Member, open: boolean, state: BranchesState): HTMLElement[] {
    const tools: HTMLElement[] = [];
    const current = this.family.find(state.openId);
    const parent = this.family.parentOf(member);
    if (!open && current) tools.push(button("compare", `Compare ${member.name} with ${current.name}`, () => this.actions.compare(current, member), member.id));
    if (parent) tools.push(button("merge", `Merge ${member.name} into ${parent.name}`, () => this.actions.merge(member), member.id));
    if (member.live && member.forked_from) tools.push(button("close", `Close ${member.name}`, () => this.actions.close(member), member.id));
    return tools;
  }

  private detail(member: Member, now: number): string {
    const cells = typeof member.n_cells === "number" ? `${member.n_cells} ${member.n_cells === 1 ? "cell" : "cells"}` : "";
    return [SAYS[stateOf(member)] ?? member.state, cells, member.live ? "" : when(member, now)].filter((part) => part !== "").join(" · ")
      .replace("merged", `merged into ${this.family.find(member.merged_into)?.name ?? "its parent"}`);
  }
}

const SAYS: Record<string, string> = { ready: "ready", busy: "running", closing: "closing", closed: "closed", merged: "merged" };

function shortId(id: string): string {
  return id.replace(/^sbx_/, "").slice(0, 6);
}

function stateOf(member: Member): string {
  return member.merged_into || member.end_reason === "merged" ? "merged" : member.state;
}

function when(member: Member, now: number): string {
  return ago(Date.parse(member.ended_at ?? member.created_at), now);
}

function intro(state: BranchesState, members: number): string {
  if (state.openId === null) return "A sandbox can be forked once it is there: send a first message.";
  if (members > 1) return "";
  return "A fork is this sandbox once more: all its variables, files and cells, ready at once. Try something in each, compare them, and merge the one that you keep.";
}

function button(name: IconName, label: string, act: () => void, key?: string): HTMLElement {
  return h("button", { type: "button", class: "quiet icon-button", "aria-label": label, title: label, "data-key": key && `${key}-${name}`, onclick: act }, icon(name));
}
