// Builds the chat page into podflare_nb/static/chat, or with --check tells whether what is there is current.
// Deterministic: the same sources and lock file give the same bytes.

import { createHash } from "node:crypto";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build, transform } from "esbuild";

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

const stylesAsText = {
  name: "styles-as-text",
  setup: (builder) =>
    builder.onLoad({ filter: /xterm\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code, loader: "text" };
    }),
};

// The terminal emulator is as large as the rest of the page, and few open one: it is a file of its own, with its styles
// inside, that the page loads when it is first wanted. Its name carries its content's hash.
const apart = (emulator) => ({
  name: "apart",
  setup: (builder) => builder.onResolve({ filter: /\/emulator\.js$/ }, () => ({ path: `./${emulator}`, external: true })),
});

async function bundle(target) {
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  const options = {
    absWorkingDir: here,
    outdir: target,
    bundle: true,
    minify: true,
    format: "esm",
    target: TARGET,
    charset: "utf8",
    legalComments: "eof",
    loader: { ".woff2": "file" },
    assetNames: "fonts/[name]",
    logLevel: "warning",
  };
  await build({ ...options, entryPoints: { emulator: "src/emulator/emulator.ts" }, entryNames: "[name]-[hash]", plugins: [stylesAsText] });
  await build({ ...options, entryPoints: { chat: "src/main.ts" }, plugins: [onlyWoff2, apart(await emulatorIn(target))] });
  await build({ ...options, entryPoints: { theme: "src/theme_early.ts" }, format: "iife" });
  await cp(join(here, "src/logo.svg"), join(target, "logo.svg"));
  await writeFile(join(target, "index.html"), await page(target));
}

async function emulatorIn(folder) {
  return (await readdir(folder)).find((name) => /^emulator-.*\.js$/.test(name));
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
  for (const name of ["chat.js", "chat.css", await emulatorIn(committed)]) {
    const bytes = await readFile(join(committed, name));
    console.log(`${name}  ${(bytes.length / 1000).toFixed(0)} kB, ${(gzipSync(bytes).length / 1000).toFixed(0)} kB gzipped`);
  }
}

if (process.argv.includes("--check")) await check();
else {
  await bundle(committed);
  await report();
}
