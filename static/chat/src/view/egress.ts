// What a sandbox may reach, for people: in a few words, and as a form. Above: dialogs, frame. Below: dom, wire.

import type { Egress } from "../core/wire.js";
import { h } from "./dom.js";

export function inWords(egress: Egress): string {
  if (typeof egress === "boolean") return egress ? "internet" : "no network";
  const [first, ...more] = egress.allow;
  if (first === undefined) return "no network";
  return more.length === 0 ? `only ${first}` : `only ${first} and ${more.length} more`;
}

export interface EgressField {
  elements: HTMLElement[];
  value(): Egress | undefined; // undefined: as it is without being asked
}

// `now`: what it is; undefined: it is still to be made, and nothing need be chosen.
export function egressField(now: Egress | undefined): EgressField {
  const kind = now === undefined ? "" : typeof now === "boolean" ? String(now) : "allow";
  const options: [string, string][] = [["true", "The public internet"], ["false", "Nothing"], ["allow", "Only these hosts"]];
  if (now === undefined) options.unshift(["", "As usual here"]);
  const choice = h("select", { id: "egress" }, ...options.map(([value, label]) => h("option", { value, selected: value === kind }, label)));
  const rules = h("textarea", { id: "egress-rules", rows: "4", spellcheck: "false", placeholder: "files.example.org\n*.example.com:443", "aria-label": "Hosts, one a line" });
  if (typeof now === "object") rules.value = now.allow.join("\n");
  const explains = h("p", { id: "egress-explains" }, "One a line: a name, “*.” and a name for all below it, an address or a range; each with “:port” or without.");
  rules.setAttribute("aria-describedby", explains.id);
  const show = (): void => {
    rules.hidden = explains.hidden = choice.value !== "allow";
  };
  choice.addEventListener("change", () => {
    show();
    if (!rules.hidden) rules.focus();
  });
  show();
  const value = (): Egress | undefined => {
    if (choice.value === "") return undefined;
    return choice.value === "allow" ? { allow: rules.value.split(/[\n,]/).map((rule) => rule.trim()).filter(Boolean) } : choice.value === "true";
  };
  return { elements: [h("label", { for: "egress" }, "What it may reach"), choice, rules, explains], value };
}
