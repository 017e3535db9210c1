// Branches of a sandbox: forked, compared, merged, rewound. A branch is a sandbox like any other.

import { Fork } from "./fork.js";
import type { CallOptions } from "./connection.js";
import { Conversation } from "./conversation.js";
import type { BranchInfo, BranchList, CheckpointInfo, Diff, ForkBody, ForkResult, RewindResult } from "./wire.js";

/** The part of a sandbox that branches. */
export abstract class Branching extends Conversation {
  get id(): string {
    return this.calls.id;
  }

  /** End it; defined by the class that was made. */
  abstract close(options?: CallOptions): Promise<void>;

  /** The object of another sandbox of the same service. */
  protected abstract beside(id: string): this;

  /**
   * Make `n` (1 to 32) branches with this sandbox's variables, files and notebook, apart from then on.
   *
   * Code that runs is waited for, `waitSeconds` at most (30 unless named), then ConflictError is thrown. What cannot
   * come along is named in `warnings`; with `strict` that is a ConflictError. Each branch is a sandbox to close.
   */
  async fork(
    n = 1,
    { waitSeconds, strict, signal }: CallOptions & { waitSeconds?: number; strict?: boolean } = {},
  ): Promise<Fork<this>> {
    const body: ForkBody = { n, wait_seconds: waitSeconds, strict };
    const made = await this.calls.call<ForkResult>("POST", "/fork", { body, signal, waitSeconds, keyed: true });
    const branches = made.children.map((id) => this.beside(id));
    return new Fork(branches, made.warnings, made.failures);
  }

  /**
   * Become what `winner`, a branch of this family, is: its variables, its files, its cells. This sandbox keeps its id.
   * `winner` is used up: every call of it but those for its notebook throws MergedError. Other branches live on.
   */
  async mergeInto(winner: Branching | string, { signal }: CallOptions = {}): Promise<void> {
    await this.calls.call("POST", `/merge_into/${encodeURIComponent(idOf(winner))}`, { signal });
    if (typeof winner !== "string") winner.calls.merged(this.id);
  }

  /** What `other` has and this one has not, and the other way round: files, variables and cells. */
  async diff(other: Branching | string, { signal }: CallOptions = {}): Promise<Diff> {
    return this.calls.call<Diff>("POST", "/diff", { body: { other: idOf(other) }, signal, repeatable: true });
  }

  /** Go back to the state after a turn; gives the branch that keeps the way not taken. Needs `checkpoints`. */
  async rewind(turnId: string, { signal }: CallOptions = {}): Promise<this> {
    const { branch } = await this.calls.call<RewindResult>("POST", "/rewind", { body: { turn_id: turnId }, signal });
    return this.beside(branch);
  }

  /** The whole family, this one and ended ones included. */
  async branches({ signal }: CallOptions = {}): Promise<BranchInfo[]> {
    return (await this.calls.call<BranchList>("GET", "/branches", { signal })).branches;
  }

  /** The turns that `rewind` can go back to, oldest first. */
  async checkpoints({ signal }: CallOptions = {}): Promise<CheckpointInfo[]> {
    return (await this.calls.call<BranchList>("GET", "/branches", { signal })).checkpoints;
  }
}

function idOf(sandbox: Branching | string): string {
  return typeof sandbox === "string" ? sandbox : sandbox.id;
}
