// The files of a sandbox's workspace, as raw bytes in both directions. Paths are relative to the workspace, the
// directory in which code runs.

import type { Calls } from "./calls.js";
import type { CallOptions } from "./connection.js";
import { InvalidArgumentError, NotFoundError } from "./errors.js";
import type { DirectoryListing, FileInfo, FileWritten } from "./wire.js";

/** What can be written; a stream is sent as it comes (not from every browser), so its size does not matter. */
export type FileContent = string | Uint8Array | ArrayBuffer | Blob | ReadableStream<Uint8Array>;

/** Of a surrogate pair. Fetch would write another character in its place, and say nothing. */
const HALF = /\p{Surrogate}/u;

export class Files {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async read(path: string, options: CallOptions = {}): Promise<Uint8Array> {
    return this.#calls.content(route(path), options);
  }

  async readText(path: string, options: CallOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** Write a file, its parent directories too. It is there whole or not at all. */
  async write(path: string, content: FileContent, { signal }: CallOptions = {}): Promise<FileWritten> {
    if (typeof content === "string" && HALF.test(content)) {
      throw new InvalidArgumentError("The text holds half of a surrogate pair, which is no character: UTF-8 has none.");
    }
    const headers = { "Content-Type": "application/octet-stream" };
    // The file is there whole or not at all, so writing it twice is writing it.
    const request = { content: content as RequestInit["body"], headers, signal, repeatable: true };
    return this.#calls.connection.send<FileWritten>("PUT", this.#calls.path(route(path)), request);
  }

  /** What is in a directory, not in those below it. */
  async list(path = ".", { signal }: CallOptions = {}): Promise<FileInfo[]> {
    const listing = await this.#calls.call<Partial<DirectoryListing> | undefined>("GET", route(path), { signal });
    if (!Array.isArray(listing?.entries)) throw new NotFoundError(`${path} is not a directory.`);
    return listing.entries;
  }

  /** Whether there is a file or directory. */
  async exists(path: string, { signal }: CallOptions = {}): Promise<boolean> {
    try {
      await this.#calls.call("HEAD", route(path), { signal });
      return true;
    } catch (error) {
      if ((error as { status?: unknown }).status === 404) return false;
      throw error;
    }
  }

  /** Delete a file or an empty directory; with `recursive` a directory with all that is in it. */
  async delete(path: string, { recursive = false, signal }: CallOptions & { recursive?: boolean } = {}): Promise<void> {
    await this.#calls.call("DELETE", route(path), { params: recursive ? { recursive: "true" } : undefined, signal });
  }

  /** The content of a file as a stream, for those that are better not held in memory. */
  async download(path: string, { signal }: CallOptions = {}): Promise<ReadableStream<Uint8Array>> {
    const response = await this.#calls.connection.open("GET", this.#calls.path(route(path)), { signal });
    return response.body ?? new ReadableStream({ start: (controller) => controller.close() });
  }

  /** Write a Blob (a browser's File, or Node's `openAsBlob(path)`), streamed. */
  async upload(
    path: string,
    content: Blob | ReadableStream<Uint8Array>,
    options: CallOptions = {},
  ): Promise<FileWritten> {
    return this.write(path, content, options);
  }
}

/** The path in a URL. Fetch resolves dots before the service sees them, escaped ones as well: `..` is refused here. */
function route(path: string): string {
  const parts = path.split("/").filter((part) => part !== ".");
  if (!path || path.includes("\0") || HALF.test(path) || parts.includes("..")) {
    const advice = "write it without NUL, half of a surrogate pair and .., relative to the workspace";
    throw new InvalidArgumentError(`The path ${JSON.stringify(path)} names no file of the workspace: ${advice}.`);
  }
  return ["/files", ...parts.map(encodeURIComponent)].join("/");
}
