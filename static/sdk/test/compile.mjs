// TypeScript to what the oldest Node.js runs, each file into the folder `dist` beside it. Types are checked by tsc.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
await build({
  absWorkingDir: root,
  entryPoints: process.argv.slice(2),
  outbase: root,
  outdir: root,
  entryNames: "[dir]/dist/[name]",
  format: "esm",
  platform: "node",
  target: "node20",
  logLevel: "warning",
});
