// Which service to call and with which key: options, environment and the local data directory, in that order.
//
// The same names and the same order as the Python client's. A key is only ever paired with the place that it belongs
// to: the local service's key never goes to another host. Where there is no process (a browser) only options count.

import { InvalidArgumentError } from "./errors.js";

export const DEFAULT_URL = "http://127.0.0.1:8888/podflare";

/** A service and the key for it; `keySource` says in words where the key came from, or was looked for. */
export interface Endpoint {
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly keySource: string;
}

/** What a machine offers to look in: its environment and its small text files. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The text of a file; undefined where there is none, or not for this user. */
  readonly textOf: (path: string) => string | undefined;
}

/** Decide where to call and with which key. Throws InvalidArgumentError for a host that is no URL. */
export function locate(host?: string, apiKey?: string, { env, textOf }: Surroundings = surroundings()): Endpoint {
  const dataDir = defaultDataDir(env);
  const note = dataDir === undefined ? undefined : textOf(`${dataDir}/service.json`);
  const localUrl = checked(urlOfNote(note) ?? DEFAULT_URL);
  const given = host || env["PODFLARE_NB_URL"] || env["PODFLARE_HOST"];
  const url = given ? checked(given) : localUrl;
  const keyFile = dataDir === undefined ? undefined : `${dataDir}/api-key`;
  const local: Candidate[] = keyFile && sameService(url, localUrl) ? [[textOf(keyFile), keyFile]] : [];
  const hosted: Candidate[] = [[env["PODFLARE_API_KEY"], "PODFLARE_API_KEY"]];
  const candidates: Candidate[] = [
    [apiKey, "the option apiKey"],
    [env["PODFLARE_NB_API_KEY"], "PODFLARE_NB_API_KEY"],
    // A named host is probably the one that PODFLARE_API_KEY is for; the local service has a file of its own.
    ...(given ? [...hosted, ...local] : [...local, ...hosted]),
  ];
  for (const [key, source] of candidates) {
    const trimmed = key?.trim();
    if (trimmed) return { url, apiKey: checkedKey(trimmed, source), keySource: source };
  }
  const looked = ["no option apiKey", "no PODFLARE_NB_API_KEY", ...(keyFile ? [`no ${keyFile}`] : [])].join(", ");
  return { url, apiKey: undefined, keySource: `nowhere: ${looked}` };
}

type Candidate = readonly [key: string | undefined, source: string];

/** Whether it is a service on this machine. */
export function isLoopback(url: string): boolean {
  const name = new URL(url).hostname;
  return name === "localhost" || name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
}

function defaultDataDir(env: Surroundings["env"]): string | undefined {
  if (env["PODFLARE_NB_DATA_DIR"]) return env["PODFLARE_NB_DATA_DIR"];
  const base = env["XDG_DATA_HOME"]?.startsWith("/")
    ? env["XDG_DATA_HOME"]
    : env["HOME"] && `${env["HOME"]}/.local/share`;
  return base ? `${base}/podflare_nb` : undefined;
}

function checked(url: string): string {
  const trimmed = url.trim();
  if (!/^https?:\/\/[^/]/.test(trimmed) || !URL.canParse(trimmed)) {
    throw new InvalidArgumentError(
      `The host ${JSON.stringify(url)} is not a URL; write it as ${DEFAULT_URL}, scheme and all.`,
    );
  }
  return trimmed.replace(/\/+$/, "");
}

/** A key goes into a header: what cannot, is no key. */
function checkedKey(key: string, source: string): string {
  if (!/^[\x20-\x7e]+$/.test(key)) {
    throw new InvalidArgumentError(`The API key from ${source} holds characters that no key has.`);
  }
  return key;
}

/** Whether `url` is the local service, by whichever of its two loopback names. */
function sameService(url: string, localUrl: string): boolean {
  const [one, other] = [url, localUrl].map((each) => new URL(each.replace("//localhost", "//127.0.0.1")).host);
  return one === other;
}

function urlOfNote(note: string | undefined): string | undefined {
  try {
    const url: unknown = JSON.parse(note || "{}")?.url;
    return typeof url === "string" ? url : undefined;
  } catch {
    // The note of a service that is just writing it, or of something else: then the default counts.
    return undefined;
  }
}

const VARIABLES = [
  "PODFLARE_NB_URL",
  "PODFLARE_HOST",
  "PODFLARE_NB_API_KEY",
  "PODFLARE_API_KEY",
  "PODFLARE_NB_DATA_DIR",
  "XDG_DATA_HOME",
  "HOME",
];

interface ProcessLike {
  readonly env?: Record<string, string | undefined>;
  readonly getBuiltinModule?: (name: string) => { readFileSync(path: string, encoding: "utf8"): string } | undefined;
}

/** This machine's, through the globals of Node, Deno and Bun; empty in a browser. No module is imported for it. */
function surroundings(): Surroundings {
  const { process } = globalThis as { process?: ProcessLike };
  const env: Record<string, string | undefined> = {};
  for (const name of VARIABLES) {
    try {
      env[name] = process?.env?.[name];
    } catch {
      // Deno without the permission to look: as if it were not set.
    }
  }
  const textOf = (path: string): string | undefined => {
    try {
      return process?.getBuiltinModule?.("node:fs")?.readFileSync(path, "utf8").trim() || undefined;
    } catch {
      // Not there, not ours to read, or not permitted to look (Deno): the next candidate counts.
      return undefined;
    }
  };
  return { env, textOf };
}
