// The files of a sandbox's workspace: lists folders, uploads with progress, says where to download.
// XMLHttpRequest and not fetch for uploads, because only it tells their progress. Above: files panel, composer.

import { type Api, ApiError, errorOf } from "./api.js";
import type { FileEntry } from "./wire.js";

export class FileStore {
  constructor(private readonly api: Api) {}

  async list(sandboxId: string, folder: string): Promise<FileEntry[]> {
    const answer = await this.api.json<{ entries: FileEntry[] }>("GET", this.path(sandboxId, folder));
    const rank = (entry: FileEntry): number => (entry.type === "directory" ? 0 : 1);
    return answer.entries.sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  }

  url(sandboxId: string, path: string): string {
    return this.api.url(this.path(sandboxId, path));
  }

  upload(sandboxId: string, path: string, content: Blob, progress: (fraction: number) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("PUT", this.url(sandboxId, path));
      for (const [name, value] of Object.entries(this.api.headers("PUT"))) request.setRequestHeader(name, value);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.upload.onprogress = (event) => progress(event.total > 0 ? event.loaded / event.total : 0);
      request.onload = () => {
        if (request.status < 300) resolve();
        else reject(errorOf(request.status, request.responseText));
      };
      request.onerror = () => reject(new ApiError(0, "unreachable", "The upload broke: the service does not answer."));
      request.send(content);
    });
  }

  private path(sandboxId: string, path: string): string {
    return `/sandboxes/${sandboxId}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
  }
}

export function sizeOf(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = bytes;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}
