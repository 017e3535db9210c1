// What a person does with branches: fork, compare, merge and going back to a turn. Puts the family, its panel and the
// dialogs together, and asks before anything is lost. Above: page. Below: core/family, branches_panel, compare_view.

import type { Api } from "../core/api.js";
import { asApiError } from "../core/conversation.js";
import { Family, type Member } from "../core/family.js";
import type { Turn } from "../core/transcript.js";
import type { Notebook } from "../core/wire.js";
import { BranchesPanel } from "./branches_panel.js";
import { compareView } from "./compare_view.js";
import { confirmDialog } from "./dialogs.js";
import type { Toasts } from "./toasts.js";

export interface BranchingHost {
  openId(): string | null;
  open(id: string): void;
  cameBack(id: string): Promise<void>; // another state stands behind this id: show it
  close(id: string): Promise<void>;
  hide(): void;
  relist(): void; // the list of sandboxes has new ones
  attempt(action: () => Promise<unknown>): void; // tells what failed, and offers to try again
  changed(): void;
}

export class Branching {
  readonly family: Family;
  readonly panel: BranchesPanel;
  private forking = false;
  private problem: string | null = null; // why the family could not be read
  private focusing = false;

  constructor(private readonly api: Api, private readonly toasts: Toasts, private readonly host: BranchingHost) {
    this.family = new Family(api, () => host.changed());
    this.panel = new BranchesPanel(this.family, {
      open: (id) => host.open(id),
      fork: (n) => host.attempt(() => this.fork(n)),
      compare: (one, other) => this.compare(one, other),
      merge: (member) => host.attempt(() => this.merge(member)),
      close: (member) => host.attempt(() => host.close(member.id)),
      hide: () => host.hide(),
    });
  }

  // The open sandbox in its family.
  get current(): Member | undefined {
    return this.family.find(this.host.openId());
  }

  // How many live beside the open one.
  get others(): number {
    return this.family.all.filter((one) => one.live && one.id !== this.host.openId()).length;
  }

  // What the family is now; where that cannot be had, the panel says why and the rest of the page goes on.
  async look(id: string | null = this.host.openId()): Promise<void> {
    try {
      await this.family.show(id);
      this.problem = null;
    } catch (reason) {
      this.problem = asApiError(reason).message;
    }
    this.host.changed();
  }

  // Gives the panel the focus, once it is drawn.
  focus(): void {
    this.focusing = true;
  }

  update(live: boolean, now: number): void {
    this.panel.update({ openId: this.host.openId(), live, forking: this.forking, problem: this.problem, now });
    if (this.focusing) this.panel.focus();
    this.focusing = false;
  }

  async rewind(turn: Turn): Promise<void> {
    const id = this.host.openId();
    if (id === null) return;
    const branch = await this.family.rewind(id, turn.id);
    await this.host.cameBack(id);
    const name = this.family.find(branch)?.name ?? "a branch";
    this.toasts.say(`Back to where this turn ended. What came after it lives on as ${name}.`, { label: `Open ${name}`, act: () => this.host.open(branch) });
  }

  private async fork(n: number): Promise<void> {
    const id = this.host.openId();
    if (id === null || this.forking) return;
    this.forking = true;
    this.host.changed();
    try {
      const { children, warnings, failures } = await this.family.fork(id, n);
      this.host.relist();
      await this.look();
      const names = children.map((child) => this.family.find(child)?.name ?? "a branch");
      const [only] = children;
      this.toasts.say(`Forked into ${names.join(", ")}.`, only && children.length === 1 ? { label: "Open it", act: () => this.host.open(only) } : undefined);
      for (const sentence of [...warnings, ...failures]) this.toasts.error(sentence);
    } finally {
      this.forking = false;
      this.host.changed();
    }
  }

  private compare(one: Member, other: Member): void {
    const gone = new AbortController();
    const { signal } = gone;
    const notebook = (member: Member): Promise<Notebook> => this.api.json<Notebook>("GET", `/sandboxes/${member.id}/notebook`, { signal });
    compareView({
      members: [one, other],
      difference: this.family.diff(one.id, other.id, signal),
      notebooks: Promise.all([notebook(one), notebook(other)]),
      keep: (member) => (this.family.parentOf(member) ? () => this.host.attempt(() => this.merge(member)) : null),
      open: (member) => this.host.open(member.id),
      gone: () => gone.abort(),
    }, (reason) => asApiError(reason).message);
  }

  private async merge(member: Member): Promise<void> {
    const parent = this.family.parentOf(member);
    if (!parent) return;
    const sure = await confirmDialog(`Merge ${member.name} into ${parent.name}?`,
      `${parent.name} takes over its variables and files, and its cells join the notebook. Variables and files that ${parent.name} itself changed since the fork are gone. Other branches live on.`,
      "Merge", "Not now");
    if (!sure) return;
    await this.family.merge(parent.id, member.id);
    this.toasts.say(`${member.name} is merged. ${parent.name} goes on from it.`);
    await this.host.cameBack(parent.id);
  }
}
