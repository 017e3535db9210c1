// Where a message is written: text, files, the model, send and stop. Above: page; it knows no API.

import type { ModelChoice } from "../core/wire.js";
import { h, setText } from "./dom.js";
import { icon } from "./icons.js";

export interface ComposerActions {
  send(message: string): void;
  stop(): void;
  pickFiles(files: File[]): void;
}

export interface ComposerState {
  running: boolean;
  closed: boolean; // the sandbox is over: nothing more can be sent
}

export interface FileChip {
  progress(fraction: number): void;
  done(): void;
  failed(): void;
}

const DIRECT_HINT = "Python, or prose with ```python and ```bash blocks. For an agent, set ANTHROPIC_API_KEY or OPENAI_API_KEY and restart.";
const AGENT_HINT = "Enter sends, Shift+Enter makes a new line.";
const MODEL_KEY = "podflare.model";

export class Composer {
  readonly element: HTMLElement;
  readonly field: HTMLTextAreaElement;
  private readonly button = h("button", { type: "button", class: "send" });
  private readonly model = h("select", { class: "model", "aria-label": "Model" });
  private readonly ask = h("input", { type: "checkbox", id: "ask" });
  private readonly askLabel = h("label", { class: "ask", for: "ask", title: "Ask before each run of code" }, this.ask, "Ask first");
  private readonly hint = h("p", { class: "hint", id: "hint" });
  private readonly chips = h("ul", { class: "chips", "aria-label": "Files" });
  private readonly picker = h("input", { type: "file", multiple: true, hidden: true, tabindex: "-1" });
  private state: ComposerState = { running: false, closed: false };
  private lastMessage = "";
  private defaultModel = "direct";

  constructor(private readonly actions: ComposerActions, private readonly storage: Storage) {
    this.field = h("textarea", { rows: "1", "aria-label": "Message", "aria-describedby": "hint", spellcheck: "false", autocomplete: "off" });
    const attach = h("button", { type: "button", class: "quiet icon-button", "aria-label": "Upload files to the workspace", title: "Upload files to the workspace", onclick: () => this.picker.click() }, icon("clip"));
    this.element = h("div", { class: "composer" },
      h("div", { class: "composer-box" }, this.chips, this.field,
        h("div", { class: "composer-row" }, attach, this.model, this.askLabel, h("span", { class: "grow" }), this.button)),
      this.hint, this.picker);
    this.field.addEventListener("input", () => this.fit());
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("paste", (event) => this.paste(event));
    this.picker.addEventListener("change", () => { actions.pickFiles([...(this.picker.files ?? [])]); this.picker.value = ""; });
    this.model.addEventListener("change", () => { storage.setItem(MODEL_KEY, this.model.value); this.showModel(); });
    this.button.addEventListener("click", () => (this.state.running ? actions.stop() : this.submit()));
    this.chips.hidden = true;
    this.showModel();
    this.update(this.state);
  }

  setModels(available: ModelChoice[], byDefault: string): void {
    const stored = this.storage.getItem(MODEL_KEY);
    this.defaultModel = byDefault;
    this.model.replaceChildren(...available.map((one) => h("option", { value: one.name }, one.label)));
    this.model.value = available.some((one) => one.name === stored) && stored !== null ? stored : byDefault;
    this.model.hidden = available.length < 2;
    this.showModel();
  }

  get chosenModel(): string {
    return this.model.value || this.defaultModel;
  }

  get asks(): boolean {
    return this.ask.checked && !this.askLabel.hidden;
  }

  update(state: ComposerState): void {
    this.state = state;
    this.field.disabled = state.closed;
    this.element.classList.toggle("closed", state.closed);
    this.button.classList.toggle("stop", state.running);
    const says = state.running ? "Stop (Esc)" : "Send (Enter)";
    if (this.button.title !== says) {
      this.button.title = says;
      this.button.setAttribute("aria-label", state.running ? "Stop" : "Send");
      this.button.replaceChildren(icon(state.running ? "stop" : "send"));
    }
    this.button.disabled = !state.running && (state.closed || this.field.value.trim() === "");
    this.field.placeholder = state.closed ? "This sandbox is closed" : this.chosenModel === "direct" ? "Write Python, or prose with code blocks" : "Ask for anything";
  }

  put(text: string): void {
    this.field.value = text;
    this.fit();
    this.field.focus();
  }

  // Not on a touch screen: its keyboard would cover the conversation.
  focus(): void {
    if (matchMedia("(hover: hover)").matches) this.field.focus({ preventScroll: true });
  }

  addChip(name: string): FileChip {
    const bar = h("progress", { max: "1", value: "0", "aria-label": `Uploading ${name}` });
    const mention = h("button", { type: "button", class: "chip-name", title: `Mention ${name}`, onclick: () => this.mention(name) }, name);
    const chip = h("li", { class: "chip" }, icon("file"), mention, bar,
      h("button", { type: "button", class: "quiet icon-button", "aria-label": `Do not mention ${name}`, onclick: () => { chip.remove(); this.chips.hidden = this.chips.childElementCount === 0; } }, icon("close")));
    this.chips.append(chip);
    this.chips.hidden = false;
    return {
      progress: (fraction) => { bar.value = fraction; },
      done: () => { bar.remove(); chip.dataset["file"] = name; },
      failed: () => { chip.remove(); this.chips.hidden = this.chips.childElementCount === 0; },
    };
  }

  private mention(name: string): void {
    this.field.setRangeText(name, this.field.selectionStart, this.field.selectionEnd, "end");
    this.fit();
    this.field.focus();
  }

  // An agent is told of the new files; in direct mode the message is a program and stays as it is.
  private submit(): void {
    const message = this.field.value.trim();
    if (message === "" || this.state.closed || this.state.running) return;
    const files = [...this.chips.children].flatMap((chip) => (chip as HTMLElement).dataset["file"] ?? []);
    this.lastMessage = message;
    this.field.value = "";
    this.chips.replaceChildren();
    this.chips.hidden = true;
    this.fit();
    const mentioned = files.length > 0 && this.chosenModel !== "direct";
    this.actions.send(mentioned ? `${message}\n\nNew in the workspace: ${files.map((name) => `\`${name}\``).join(", ")}` : message);
  }

  private key(event: KeyboardEvent): void {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    } else if (event.key === "ArrowUp" && this.field.value === "" && this.lastMessage !== "") {
      event.preventDefault();
      this.put(this.lastMessage);
    }
  }

  private paste(event: ClipboardEvent): void {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    this.actions.pickFiles(files);
  }

  private showModel(): void {
    const direct = this.chosenModel === "direct";
    setText(this.hint, direct ? DIRECT_HINT : AGENT_HINT);
    this.askLabel.hidden = direct;
    this.element.classList.toggle("direct", direct);
    this.update(this.state);
  }

  private fit(): void {
    this.field.style.height = "auto";
    this.field.style.height = `${Math.min(this.field.scrollHeight + 2, window.innerHeight * 0.4)}px`;
    this.update(this.state);
  }
}
