// Builds the chat page into podflare_nb/static/chat, or with --check tells whether what is there is current.
// Deterministic: the same sources and lock file give the same bytes.

import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const committed = join(here, "../../podflare_nb/static/chat");
const TARGET = ["chrome123", "firefox121", "safari17.5"];

// KaTeX names three formats of each font; every browser of TARGET takes woff2.
const onlyWoff2 = {
  name: "only-woff2",
  setup: (builder) =>
    builder.onLoad({ filter: /katex(\.min)?\.css$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/,\s*url\([^)]*\.(?:woff|ttf)\)\s*format\("[^"]*"\)/g, ""),
      loader: "css",
      resolveDir: dirname(path),
    })),
};

async function bundle(target) {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  await build({
    absWorkingDir: here,
    entryPoints: { chat: "src/main.ts", theme: "src/theme_early.ts" },
    outdir: target,
    bundle: true,
    minify: true,
    format: "iife",
    target: TARGET,
    charset: "utf8",
    legalComments: "eof",
    loader: { ".woff2": "file" },
    assetNames: "fonts/[name]",
    plugins: [onlyWoff2],
    logLevel: "warning",
  });
  await cp(join(here, "src/logo.svg"), join(target, "logo.svg"));
  await writeFile(join(target, "index.html"), await page(target));
}

// Each asset's address carries its content's hash, so that a browser may keep it for ever.
async function page(target) {
  let html = await readFile(join(here, "src/index.html"), "utf8");
  for (const name of ["chat.js", "chat.css", "theme.js", "logo.svg"]) {
    const hash = createHash("sha256").update(await readFile(join(target, name))).digest("hex").slice(0, 12);
    html = html.replace(`podflare/static/${name}`, `podflare/static/${name}?v=${hash}`);
  }
  return html;
}

async function contents(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = new Map();
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    files.set(relative(folder, path), await readFile(path));
  }
  return files;
}

async function check() {
  const fresh = await mkdtemp(join(tmpdir(), "podflare-chat-"));
  try {
    await bundle(fresh);
    const [built, kept] = await Promise.all([contents(fresh), contents(committed)]);
    const names = [...new Set([...built.keys(), ...kept.keys()])].sort();
    const stale = names.filter((name) => !built.get(name)?.equals(kept.get(name) ?? Buffer.alloc(0)));
    if (stale.length === 0) return;
    console.error(`The committed chat page is not current (${stale.join(", ")}). Run: python static/build.py`);
    process.exitCode = 1;
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

async function report() {
  for (const name of ["chat.js", "chat.css"]) {
    const bytes = await readFile(join(committed, name));
    console.log(`${name}  ${(bytes.length / 1000).toFixed(0)} kB, ${(gzipSync(bytes).length / 1000).toFixed(0)} kB gzipped`);
  }
}

if (process.argv.includes("--check")) await check();
else {
  await bundle(committed);
  await report();
}
