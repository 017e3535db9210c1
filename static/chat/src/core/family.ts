// The family of the open sandbox: its branches as a tree, the turns that it can be rewound to, and what can be done
// with them. Knows nothing of the page. Above: page. Below: api.

import type { Api } from "./api.js";
import type { BranchInfo, Difference, FamilyInfo, ForkAnswer } from "./wire.js";

export interface Member extends BranchInfo {
  name: string; // "Main" or "Branch 2": by age, so that a name stays
  children: Member[];
  live: boolean;
}

export class Family {
  roots: Member[] = [];
  rewindable: ReadonlySet<string> = new Set(); // turn ids
  private members = new Map<string, Member>();
  private of: string | null = null;
  private asked = 0;

  constructor(
    private readonly api: Api,
    private readonly changed: () => void,
  ) {}

  get all(): Member[] {
    return [...this.members.values()];
  }

  find(id: string | null): Member | undefined {
    return this.members.get(id ?? "");
  }

  // The sandbox that a branch can be merged into: its parent, when both live.
  parentOf(member: Member | undefined): Member | undefined {
    const parent = this.find(member?.forked_from?.sandbox_id ?? null);
    return member?.live && parent?.live ? parent : undefined;
  }

  // Answers that come late, for a sandbox that is no longer open, are dropped.
  async show(id: string | null): Promise<void> {
    if (id === null || (this.of !== id && !this.members.has(id))) this.take({ branches: [], checkpoints: [] });
    else if (this.of !== id) this.rewindable = new Set(); // each has its own
    this.of = id;
    this.asked += 1;
    const asked = this.asked;
    if (id === null) return;
    const told = await this.api.json<FamilyInfo>("GET", `/sandboxes/${id}/branches`);
    if (asked === this.asked) this.take(told);
  }

  async fork(id: string, n: number): Promise<ForkAnswer> {
    return this.api.json<ForkAnswer>("POST", `/sandboxes/${id}/fork`, { json: { n } });
  }

  async merge(parent: string, winner: string): Promise<void> {
    await this.api.request("POST", `/sandboxes/${parent}/merge_into/${winner}`, { json: {} });
  }

  // The id of the branch that keeps the way not taken.
  async rewind(id: string, turnId: string): Promise<string> {
    const answer = await this.api.json<{ branch: string }>("POST", `/sandboxes/${id}/rewind`, { json: { turn_id: turnId } });
    return answer.branch;
  }

  async diff(id: string, other: string, signal: AbortSignal): Promise<Difference> {
    return this.api.json<Difference>("POST", `/sandboxes/${id}/diff`, { json: { other }, signal });
  }

  private take(told: FamilyInfo): void {
    this.members = new Map();
    let branches = 0;
    for (const info of told.branches) {
      const name = info.forked_from === null ? "Main" : `Branch ${(branches += 1)}`;
      const live = info.state === "ready" || info.state === "busy";
      this.members.set(info.id, { ...info, name, live, children: [] });
    }
    this.roots = [];
    for (const member of this.members.values()) {
      const parent = this.find(member.forked_from?.sandbox_id ?? null);
      (parent?.children ?? this.roots).push(member);
    }
    this.rewindable = new Set(told.checkpoints.map((one) => one.turn_id));
    this.changed();
  }
}
