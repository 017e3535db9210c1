// The files of the workspace: a folder at a time, with download and upload. Above: page. Below: core/file_store.

import { ApiError } from "../core/api.js";
import { type FileStore, sizeOf } from "../core/file_store.js";
import type { FileEntry } from "../core/wire.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

export interface FilesActions {
  upload(): void;
  download(path: string, name: string): void;
  hide(): void;
}

export class FilesPanel {
  readonly element: HTMLElement;
  private readonly list = h("ul", { class: "files" });
  private readonly where = h("p", { class: "files-where" });
  private sandboxId: string | null = null;
  private folder = "";
  private asked = 0;

  constructor(private readonly store: FileStore, private readonly actions: FilesActions) {
    this.element = h("aside", { class: "side-panel", id: "files-panel", "aria-label": "Files of the workspace", hidden: true },
      h("header", {}, h("h2", {}, "Files"), h("span", { class: "grow" }),
        h("button", { type: "button", class: "quiet icon-button", "aria-label": "Upload files", title: "Upload files", onclick: () => actions.upload() }, icon("clip")),
        h("button", { type: "button", class: "quiet icon-button", "aria-label": "Look again", title: "Look again", onclick: () => void this.refresh() }, icon("refresh")),
        h("button", { type: "button", class: "quiet icon-button", "aria-label": "Hide the files", title: "Hide", onclick: () => actions.hide() }, icon("close"))),
      this.where, this.list);
  }

  async show(sandboxId: string | null): Promise<void> {
    if (sandboxId !== this.sandboxId) this.folder = "";
    this.sandboxId = sandboxId;
    await this.refresh();
  }

  // Only the last one asked for is drawn: answers may come in another order.
  async refresh(): Promise<void> {
    if (this.element.hidden) return;
    const { sandboxId, folder } = this;
    const asked = (this.asked += 1);
    this.where.textContent = folder === "" ? "" : `/${folder}`;
    this.where.hidden = folder === "";
    if (sandboxId === null) {
      this.list.replaceChildren(note("A new sandbox has an empty workspace. Drop files anywhere on this page."));
      return;
    }
    try {
      const entries = await this.store.list(sandboxId, folder);
      if (asked === this.asked) this.draw(entries);
    } catch (reason) {
      if (asked === this.asked) this.list.replaceChildren(note(reason instanceof ApiError ? reason.message : String(reason)));
    }
  }

  private draw(entries: FileEntry[]): void {
    const rows = entries.map((entry) => this.row(entry));
    if (this.folder !== "") rows.unshift(h("li", {}, this.opener("..", this.folder.split("/").slice(0, -1).join("/"))));
    if (rows.length === 0) rows.push(note("No files yet. Drop some anywhere on this page."));
    this.list.replaceChildren(...rows);
  }

  private row(entry: FileEntry): HTMLLIElement {
    const path = this.folder === "" ? entry.name : `${this.folder}/${entry.name}`;
    if (entry.type === "directory") return h("li", {}, this.opener(entry.name, path));
    if (entry.type !== "file") return h("li", { class: "file other" }, icon("file"), h("span", { class: "file-name" }, entry.name), h("small", {}, entry.type));
    return h("li", { class: "file" }, icon("file"), h("span", { class: "file-name", title: entry.name }, entry.name), h("small", {}, sizeOf(entry.size)),
      h("button", { type: "button", class: "quiet icon-button", "aria-label": `Download ${entry.name}`, title: "Download", onclick: () => this.actions.download(path, entry.name) }, icon("download")));
  }

  private opener(name: string, folder: string): HTMLElement {
    return h("button", { type: "button", class: "file folder", onclick: () => { this.folder = folder; void this.refresh(); } }, icon("folder"), h("span", { class: "file-name" }, name));
  }
}

function note(sentence: string): HTMLLIElement {
  return h("li", { class: "none" }, sentence);
}
