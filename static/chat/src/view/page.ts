// The page: puts the parts together and decides what happens when. The one file here that knows everyone.
// Above: main. Below: core/ (what is), the other views (how it looks).

import { type Api, ApiError } from "../core/api.js";
import { asApiError, Conversation } from "../core/conversation.js";
import { FileStore } from "../core/file_store.js";
import { SandboxList } from "../core/sandbox_list.js";
import type { Turn } from "../core/transcript.js";
import type { Capabilities, SandboxInfo, TemplateInfo } from "../core/wire.js";
import { Branching } from "./branching.js";
import { Composer } from "./composer.js";
import { ConversationView } from "./conversation_view.js";
import { askForKey, confirmDialog, egressDialog, enlarge, newSandboxDialog, showShortcuts } from "./dialogs.js";
import { acceptDrops } from "./drops.js";
import { FilesPanel } from "./files_panel.js";
import { Frame, type Panel } from "./frame.js";
import { Previews } from "./previews.js";
import { Sidebar } from "./sidebar.js";
import { isTerminalsKey, listenForShortcuts } from "./shortcuts.js";
import { TerminalsPanel } from "./terminals_panel.js";
import { themeButton } from "./theme.js";
import { titleOf } from "./title.js";
import { Toasts } from "./toasts.js";
import { welcome } from "./welcome.js";

const LIST_EVERY = 15_000;
const TICK = 200;
const TERMINALS = "podflare.terminals"; // in the tab's storage: whether they are shown
const SMALL = "(max-width: 800px)"; // as in frame.css

export class Page {
  readonly element: HTMLElement;
  private readonly toasts = new Toasts();
  private readonly frame: Frame;
  private readonly sidebar: Sidebar;
  private readonly composer: Composer;
  private readonly files: FilesPanel;
  private readonly store: FileStore;
  private readonly list: SandboxList;
  private readonly conversation: Conversation;
  private readonly cells: ConversationView;
  private readonly branching: Branching;
  private readonly terminals: TerminalsPanel;
  private readonly previews: Previews;
  private panel: Panel | null = null;
  private templates: TemplateInfo[] = [];
  private drawing = false;
  private sending = false;
  private starting: Promise<void> | null = null; // a sandbox for what was sent
  private asking = false;
  private readAsOf: string | null | undefined; // when the open sandbox was last active, as of the last reading of its notebook
  private welcomeFor = "";

  constructor(private readonly api: Api, private readonly keepKey: (key: string) => void) {
    this.store = new FileStore(api);
    this.list = new SandboxList(api, () => this.draw());
    this.conversation = new Conversation(api, {
      changed: () => this.draw(),
      failed: (problem) => this.fail(problem),
      started: () => this.relist(), // to show it as running, under its title
      branched: () => void this.branching.look(),
      ran: () => void this.previews.ports.follow(),
    }, waitFor);
    this.cells = new ConversationView({
      approve: (approved) => this.attempt(() => this.conversation.approve(approved)),
      retryNow: () => this.conversation.retryNow(),
      rewind: (turn) => this.attempt(() => this.rewind(turn)),
    });
    this.branching = new Branching(api, this.toasts, {
      openId: () => this.conversation.sandboxId,
      open: (id) => this.open(id),
      cameBack: (id) => this.cameBack(id),
      close: (id) => this.close(id),
      hide: () => this.showPanel(null),
      relist: () => this.relist(),
      attempt: (action) => this.attempt(action),
      changed: () => this.draw(),
    });
    this.sidebar = new Sidebar({
      open: (id) => this.open(id),
      create: (template) => this.attempt(async () => this.open((await this.list.create(template === null ? {} : { template })).id)),
      createWithOptions: () => this.attempt(() => this.createWithOptions()),
      close: (sandbox) => this.attempt(() => this.close(sandbox.id)),
      more: () => this.attempt(() => this.list.more()),
      shortcuts: showShortcuts,
    }, themeButton(localStorage));
    this.composer = new Composer({
      send: (message) => void this.send(message),
      stop: () => this.stop(),
      pickFiles: (picked) => void this.upload(picked),
    }, localStorage);
    this.files = new FilesPanel(this.store, {
      upload: () => this.composer.element.querySelector<HTMLInputElement>("input[type=file]")?.click(),
      download: (path, name) => this.download(this.store.url(this.conversation.sandboxId ?? "", path), name),
      hide: () => this.showPanel(null),
    });
    this.terminals = new TerminalsPanel(api, {
      sandbox: () => this.sandboxThere(),
      hide: () => this.showTerminals(false),
      failed: (problem, retry) => this.fail(problem, retry),
      isToggle: isTerminalsKey,
    }, localStorage, waitFor);
    this.previews = new Previews(api, {
      show: (shown) => this.showPreview(shown),
      failed: (problem, retry) => this.fail(problem, retry),
      say: (sentence) => this.frame.say(sentence),
    }, waitFor);
    this.frame = new Frame({
      parts: { sidebar: this.sidebar.element, cells: this.cells.element, composer: this.composer.element, files: this.files.element, branches: this.branching.panel.element, terminals: this.terminals.element, toasts: this.toasts.element, chips: this.previews.chips, preview: this.previews.panel },
      notebook: (format) => this.downloadNotebook(format),
      togglePanel: (panel) => this.showPanel(this.panel === panel ? null : panel),
      toggleTerminals: () => this.showTerminals(!this.terminals.shown),
      openSandbox: (id) => this.open(id),
      newSandbox: () => this.sidebarCreate(),
      changeEgress: () => this.attempt(() => this.changeEgress()),
      retry: () => this.open(this.conversation.sandboxId),
    });
    this.element = this.frame.element;
  }

  async start(): Promise<void> {
    listenForShortcuts({
      newSandbox: () => this.sidebarCreate(),
      stop: () => this.stop(),
      focusMessage: () => this.composer.field.focus(),
      terminals: () => this.terminalsKey(),
      help: showShortcuts,
    });
    acceptDrops(this.element, (dropped) => void this.upload(dropped));
    this.element.addEventListener("click", (event) => {
      const picture = (event.target as Element).closest(".out-picture")?.querySelector("img");
      if (picture) enlarge(picture);
    });
    window.addEventListener("hashchange", () => this.open(sandboxInAddress()));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) void this.keepCurrent(); });
    setInterval(() => { if (!document.hidden) void this.keepCurrent(); }, LIST_EVERY);
    setInterval(() => { if (this.conversation.running) this.draw(); }, TICK); // elapsed times
    this.frame.setTerminals(sessionStorage.getItem(TERMINALS) === "open" && sandboxInAddress() !== null);
    this.draw();
    await this.connect();
  }

  private async connect(): Promise<void> {
    try {
      const [capabilities, templates] = await Promise.all([
        this.api.json<Capabilities>("GET", "/capabilities"),
        this.api.json<{ templates: TemplateInfo[] }>("GET", "/templates"),
        this.list.refresh(),
      ]);
      this.templates = templates.templates;
      this.sidebar.setTemplates(templates.templates);
      this.sidebar.setNote(capabilities.isolation === "none" ? "No isolation: code runs as you." : "");
      this.composer.setModels(capabilities.models.available, capabilities.models.default);
      this.open(sandboxInAddress());
      this.composer.focus();
    } catch (reason) {
      this.fail(asApiError(reason), () => void this.connect());
    }
  }

  // null: a conversation that gets its sandbox with its first message.
  private open(id: string | null): void {
    this.frame.closeDrawer();
    if (this.panel !== null && matchMedia(SMALL).matches) this.showPanel(null); // it covers what was opened
    if (id === this.conversation.sandboxId && this.conversation.problem === null && id !== null) return;
    if (sandboxInAddress() !== id) history.pushState(null, "", id === null ? location.pathname : `#${id}`);
    this.frame.stickToEnd();
    this.readAsOf = this.list.find(id)?.last_active_at;
    void this.conversation.open(id);
    if (id !== null) void this.list.get(id).catch(() => undefined); // the notebook's own request tells what is wrong
    void this.files.show(id);
    void this.branching.look(id);
    this.composer.focus();
  }

  private async send(message: string): Promise<void> {
    this.toasts.clear();
    this.frame.stickToEnd();
    this.sending = true;
    this.draw();
    const model = this.composer.chosenModel;
    try {
      await this.sandboxThere();
      await this.conversation.send(message, { model, approve: this.composer.asks ? "ask" : "auto" });
      this.announceEnd();
    } catch (reason) {
      this.composer.put(message);
      this.fail(asApiError(reason), () => void this.send(message));
    } finally {
      this.sending = false;
      this.draw();
      void this.keepCurrent();
      void this.files.refresh();
      void this.branching.look();
    }
  }

  // The open sandbox; the first message, file or terminal makes one, and those that come meanwhile get the same.
  private async sandboxThere(): Promise<string> {
    if (this.conversation.sandboxId === null) {
      this.starting ??= this.list.create().then((sandbox) => this.adopt(sandbox)).finally(() => { this.starting = null; this.draw(); });
      this.draw();
      await this.starting;
    }
    return this.conversation.sandboxId ?? "";
  }

  // The first message's or file's new sandbox becomes the open one.
  private async adopt(sandbox: SandboxInfo): Promise<void> {
    history.pushState(null, "", `#${sandbox.id}`);
    this.readAsOf = sandbox.last_active_at;
    await this.conversation.open(sandbox.id);
    void this.files.show(sandbox.id);
    void this.branching.look(sandbox.id);
  }

  private sidebarCreate(): void {
    this.attempt(async () => this.open((await this.list.create()).id));
  }

  private async createWithOptions(): Promise<void> {
    const chosen = await newSandboxDialog(this.templates);
    if (chosen) this.open((await this.list.create({ ...chosen })).id);
  }

  private async changeEgress(): Promise<void> {
    const sandbox = this.list.find(this.conversation.sandboxId);
    const chosen = sandbox ? await egressDialog(sandbox.egress) : null;
    if (sandbox && chosen !== null) await this.list.setEgress(sandbox.id, chosen);
  }

  private async close(id: string): Promise<void> {
    const member = this.branching.family.find(id);
    const what = member?.forked_from ? member.name : "this sandbox";
    const sure = await confirmDialog(`Close ${what}?`, "Its kernel ends, and its variables and files are gone. The notebook stays readable.", "Close it");
    if (!sure) return;
    await this.list.close(id);
    void this.branching.look();
  }

  // Sooner than the poll, which tells when the service is away.
  private relist(): void {
    void this.list.refresh().catch(() => undefined);
  }

  // A merge or a rewind: everything that shows this sandbox is read again.
  private async rewind(turn: Turn): Promise<void> {
    await this.branching.rewind(turn);
    this.composer.focus(); // what was pressed is gone
  }

  private async cameBack(id: string): Promise<void> {
    this.relist();
    void this.files.refresh();
    if (this.conversation.sandboxId === id) await this.conversation.reload();
    else this.open(id);
    await this.branching.look();
  }

  private stop(): void {
    if (this.conversation.running) this.attempt(() => this.conversation.cancel());
  }

  private async upload(files: File[]): Promise<void> {
    if (files.length === 0) return;
    const uploads = files.map((file) => ({ file, chip: this.composer.addChip(file.name) }));
    try {
      await this.sandboxThere();
    } catch (reason) {
      for (const { chip } of uploads) chip.failed();
      this.fail(asApiError(reason), () => void this.upload(files));
      return;
    }
    const sandboxId = this.conversation.sandboxId ?? "";
    for (const { file, chip } of uploads) {
      try {
        await this.store.upload(sandboxId, file.name, file, (fraction) => chip.progress(fraction));
        chip.done();
        this.frame.say(`${file.name} is uploaded.`);
      } catch (reason) {
        chip.failed();
        this.fail(asApiError(reason), () => void this.upload([file]));
      }
    }
    void this.files.refresh();
  }

  private showPanel(panel: Panel | null): void {
    this.panel = panel;
    this.frame.setPanel(panel);
    this.previews.shown(panel === "preview");
    if (panel === "branches") this.branching.focus();
    if (panel === "files") void this.files.show(this.conversation.sandboxId);
    else if (panel === "branches") void this.branching.look();
    this.draw();
  }

  // The focus goes back to its chip when the panel had it.
  private showPreview(shown: boolean): void {
    const left = this.previews.panel.contains(document.activeElement);
    const { current } = this.previews;
    this.showPanel(shown ? "preview" : null);
    if (left && !shown) this.previews.focus(current);
  }

  private showTerminals(shown: boolean): void {
    sessionStorage.setItem(TERMINALS, shown ? "open" : "");
    this.frame.setTerminals(shown);
    if (shown) void this.terminals.open();
    else this.terminals.leave();
  }

  // Opens them, goes there, and leaves them again.
  private terminalsKey(): void {
    if (!this.terminals.shown) this.showTerminals(true);
    else if (!this.terminals.hasFocus) this.terminals.focus();
    else this.showTerminals(false);
  }

  private downloadNotebook(format: string): void {
    const id = this.conversation.sandboxId;
    if (id === null) return;
    const title = titleOf(this.list.find(id)?.title ?? "notebook").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "notebook";
    this.download(this.api.url(`/sandboxes/${id}/notebook.${format}`), `${title}.${format}`);
  }

  // With a login cookie the browser streams it to disk; with a typed key the page has to carry the key itself.
  private download(url: string, name: string): void {
    if (!this.api.hasKey) {
      save(url, name);
      return;
    }
    this.attempt(async () => {
      const response = await this.api.request("GET", url.slice(this.api.url("").length));
      const local = URL.createObjectURL(await response.blob());
      save(local, name);
      setTimeout(() => URL.revokeObjectURL(local), 60_000);
    });
  }

  // The list again; and the notebook, when cells may have come from elsewhere (JupyterLab, the API, another tab).
  private async keepCurrent(): Promise<void> {
    const { sandboxId } = this.conversation;
    try {
      await this.list.refresh();
    } catch (reason) {
      if (reason instanceof ApiError && reason.status === 401) this.fail(reason);
      return; // the next poll tells; a toast every few seconds would not help
    }
    void this.terminals.look();
    if (this.panel === "branches" || this.branching.family.all.length > 1) void this.branching.look();
    const active = this.list.find(sandboxId)?.last_active_at;
    if (active === undefined || active === this.readAsOf || sandboxId !== this.conversation.sandboxId) return;
    void this.previews.ports.look();
    if (this.sending || this.conversation.running) return; // after the turn, whose events do not tell of others' cells
    this.readAsOf = active;
    await this.conversation.reload();
  }

  private attempt(action: () => Promise<unknown>): void {
    action().catch((reason: unknown) => this.fail(asApiError(reason), () => this.attempt(action)));
  }

  private fail(problem: ApiError, retry?: () => void): void {
    if (problem.status === 401) void this.login();
    else this.toasts.error(problem.message, retry);
  }

  private async login(): Promise<void> {
    if (this.asking) return;
    this.asking = true;
    const key = await askForKey(this.api.hasKey);
    this.asking = false;
    this.api.useKey(key);
    this.keepKey(key);
    await this.connect();
  }

  private announceEnd(): void {
    const last = [...this.conversation.transcript.turns.values()].at(-1);
    const says: Record<string, string> = { ok: "The answer is complete.", cancelled: "Stopped.", limit: "Stopped at a limit.", error: "The turn failed." };
    this.frame.say(says[last?.status ?? "ok"] ?? "");
  }

  // Many events, one drawing a frame.
  private draw(): void {
    if (this.drawing) return;
    this.drawing = true;
    const soon = document.hidden ? (act: () => void) => setTimeout(act, TICK) : requestAnimationFrame;
    soon(() => {
      this.drawing = false;
      this.redraw();
    });
  }

  private redraw(): void {
    const now = this.api.now();
    const { conversation } = this;
    const sandbox = this.list.find(conversation.sandboxId);
    const busy = conversation.running || this.sending;
    const member = this.branching.current;
    const closed = sandbox?.state === "closed" || sandbox?.state === "closing" || (member !== undefined && !member.live);
    const waiting = this.starting ? "Starting a sandbox …" : conversation.loading ? "Opening the notebook …" : null;
    this.sidebar.update(this.list.sandboxes, conversation.sandboxId, this.list.hasMore, now);
    this.cells.update(conversation.transcript, conversation.lost, now, closed ? undefined : this.branching.family.rewindable);
    this.composer.update({ running: busy, closed });
    this.terminals.update(conversation.sandboxId, closed ? sandbox?.end?.message || "This sandbox is closed." : null);
    this.previews.update(closed ? null : conversation.sandboxId);
    this.branching.update(conversation.sandboxId !== null && !closed, now);
    this.frame.update({ sandbox, branchOf: member?.forked_from ? member.name : null, branches: this.branching.others, busy, loading: waiting, problem: conversation.problem?.message ?? null });
    this.drawWelcome(sandbox, busy || closed || waiting !== null || conversation.problem !== null || conversation.transcript.cells.length > 0);
  }

  private drawWelcome(sandbox: SandboxInfo | undefined, hide: boolean): void {
    const template = sandbox?.template ?? this.templates.find((one) => one.default)?.name ?? "";
    const wanted = hide || this.templates.length === 0 ? "" : `${template} ${this.composer.chosenModel}`;
    if (wanted === this.welcomeFor) return;
    this.welcomeFor = wanted;
    const agent = this.composer.chosenModel !== "direct";
    this.frame.setWelcome(wanted === "" ? null : welcome(template, agent, (message) => void this.send(message)));
  }
}

function sandboxInAddress(): string | null {
  return /^#(sbx_[0-9a-f]{32})$/.exec(location.hash)?.[1] ?? null;
}

function save(url: string, name: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

function waitFor(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}
