/// <reference lib="esnext.disposable" preserve="true" />
// The branches of one fork, as an array that closes them all: a branch is a sandbox like any other.

/** What `Fork` holds; a sandbox. */
interface Closable {
  close(): Promise<void>;
}

/** Several sandboxes that were made together. `close`, or the end of `await using`, closes every one. */
export class Fork<S extends Closable> extends Array<S> {
  /** A sentence for each thing that could not come along. */
  readonly warnings: readonly string[];
  /** A sentence for each branch that could not be made, and is not in the array. */
  readonly failures: readonly string[];

  // What map and filter give is a plain array.
  static override get [Symbol.species](): ArrayConstructor {
    return Array;
  }

  constructor(branches: readonly S[], warnings: readonly string[] = [], failures: readonly string[] = []) {
    super();
    this.push(...branches);
    this.warnings = warnings;
    this.failures = failures;
  }

  /** Close every branch that is left; the first error is thrown when all have been tried. */
  async close(): Promise<void> {
    const outcomes = await Promise.allSettled(this.map((branch) => branch.close()));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed) throw failed.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
