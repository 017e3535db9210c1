// What the sandbox serves: a chip for each port beside the message field, and a panel that shows one of them.
// The frame has no origin, here as by the service's own policy: what is in it reaches nothing of this page.
// Above: page. Below: core/ports.

import type { Api, ApiError } from "../core/api.js";
import { asApiError, type Wait } from "../core/conversation.js";
import { Ports } from "../core/ports.js";
import type { PortInfo } from "../core/wire.js";
import { copyText } from "./copy_button.js";
import { h, setText } from "./dom.js";
import { icon, type IconName } from "./icons.js";

export interface PreviewsHost {
  show(shown: boolean): void; // the panel
  failed(problem: ApiError, retry?: () => void): void;
  say(sentence: string): void;
}

const ALLOWED = "allow-scripts allow-forms allow-popups allow-modals allow-downloads"; // no allow-same-origin
const MOST_CHIPS = 6;

export class Previews {
  readonly chips = h("ul", { class: "ports", "aria-label": "What the sandbox serves", hidden: true });
  readonly panel: HTMLElement;
  readonly ports: Ports;
  private readonly title = h("h2", {});
  private readonly gone = h("p", { class: "preview-note", role: "status", hidden: true });
  private readonly linked = h("p", { class: "preview-note", hidden: true });
  private readonly stage = h("div", { class: "preview-stage" });
  private readonly tab: HTMLAnchorElement;
  private sandboxId: string | null = null;
  private port: number | null = null; // the one that is shown

  constructor(api: Api, private readonly host: PreviewsHost, wait: Wait) {
    this.ports = new Ports(api, () => this.draw(), wait);
    this.tab = h("a", { class: "button quiet icon-button", target: "_blank", rel: "noopener noreferrer", "aria-label": "Open in a tab", title: "Open in a tab" }, icon("outside"));
    this.panel = h("aside", { class: "side-panel preview-panel", id: "preview-panel", "aria-label": "Preview", hidden: true },
      h("header", {}, this.title, h("span", { class: "grow" }),
        button("refresh", "Load it again", () => void this.load()), this.tab,
        button("link", "Copy a link to show it to others", () => void this.copy()),
        button("close", "Hide the preview", () => this.host.show(false))),
      this.gone, this.linked, this.stage);
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      event.stopPropagation(); // outside of here it stops what runs
      this.host.show(false);
    });
  }

  // The sandbox that is open; null as well where it is over.
  update(sandboxId: string | null): void {
    if (sandboxId === this.sandboxId) return;
    this.sandboxId = sandboxId;
    this.ports.open(sandboxId);
    if (this.port !== null) this.host.show(false);
  }

  // The panel is shown or hidden now. A hidden one runs nothing.
  shown(shown: boolean): void {
    if (shown) return;
    this.port = null;
    this.stage.replaceChildren();
    this.draw();
  }

  // The chip of the port that was shown last, or the first one.
  focus(port: number | null): void {
    const chip = this.chips.querySelector<HTMLElement>(`[data-port="${port}"]`) ?? this.chips.querySelector<HTMLElement>("button");
    chip?.focus();
  }

  get current(): number | null {
    return this.port;
  }

  private async open(port: number): Promise<void> {
    this.port = port;
    this.linked.hidden = true;
    this.host.show(true);
    this.draw();
    this.title.focus(); // before anything is waited for: later it would be taken from what the person does by then
    await this.load();
  }

  private async load(): Promise<void> {
    const { port } = this;
    if (port === null) return;
    try {
      const address = await this.ports.address(port);
      if (port !== this.port) return;
      this.tab.href = address;
      this.stage.replaceChildren(h("iframe", { src: address, sandbox: ALLOWED, referrerpolicy: "no-referrer", title: `What the sandbox serves at port ${port}` }));
      await this.ports.look();
    } catch (reason) {
      this.host.failed(asApiError(reason), () => void this.load());
    }
  }

  private async copy(): Promise<void> {
    const { port } = this;
    if (port === null) return;
    try {
      const link = await this.ports.link(port);
      const copied = await copyText(link.url);
      const until = new Date(link.expires_at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const field = h("input", { type: "text", readonly: true, value: link.url, "aria-label": "The link" });
      this.linked.replaceChildren(
        h("span", {}, `${copied ? "Copied. " : ""}Whoever has this link sees the port until ${until}.`),
        field, h("button", { type: "button", class: "link", onclick: () => void this.revoke(port) }, "End all links"));
      this.linked.hidden = false;
      if (!copied) field.select();
      this.host.say(copied ? `The link is copied. It is valid until ${until}.` : "Here is the link.");
    } catch (reason) {
      this.host.failed(asApiError(reason), () => void this.copy());
    }
  }

  private async revoke(port: number): Promise<void> {
    try {
      await this.ports.revoke(port);
      this.linked.replaceChildren("The links to this port have ended.");
      this.host.say("The links to this port have ended.");
    } catch (reason) {
      this.host.failed(asApiError(reason), () => void this.revoke(port));
    }
  }

  private draw(): void {
    const focused = this.chips.contains(document.activeElement) ? (document.activeElement as HTMLElement).dataset["port"] : undefined;
    const shown = this.ports.all.slice(0, MOST_CHIPS);
    const before = this.chips.children.length;
    this.chips.replaceChildren(...shown.map((one) => h("li", {}, this.chip(one))));
    this.chips.hidden = shown.length === 0;
    if (focused !== undefined) this.focus(Number(focused));
    if (shown.length > before) this.host.say(`The sandbox serves port ${shown.map((one) => one.port).join(", ")}.`);
    const { port } = this;
    if (port === null) return;
    setText(this.title, `Port ${port}`);
    this.title.setAttribute("tabindex", "-1");
    this.gone.hidden = this.ports.all.some((one) => one.port === port);
    setText(this.gone, this.gone.hidden ? "" : `Nothing listens on port ${port} any more.`);
  }

  private chip(one: PortInfo): HTMLElement {
    return h("button", {
      type: "button", class: "port-chip", "data-port": one.port, "aria-controls": "preview-panel", "aria-expanded": String(one.port === this.port),
      title: one.process === null ? `Listens at ${one.address}` : `${one.process} listens at ${one.address}`,
      onclick: () => { if (one.port === this.port) this.host.show(false); else void this.open(one.port); },
    }, icon("outside"), `Port ${one.port} · preview`);
  }
}

function button(name: IconName, label: string, act: () => void): HTMLButtonElement {
  return h("button", { type: "button", class: "quiet icon-button", "aria-label": label, title: label, onclick: act }, icon(name));
}
