// What the client adds to a call over fetch alone, in one process, the two taking turns; needs a running service and,
// like any program, its address and key from the environment. Prints milliseconds, and lines per second of a stream.
//
//   npm run --workspace podflare-nb build && node static/sdk/bench.mjs

import { Client, Sandbox } from "podflare-nb";

const CALLS = 300;
const LINES = 20_000;

const url = new Client().url;
const key = process.env.PODFLARE_NB_API_KEY;
const headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
const sandbox = await Sandbox.create();
const place = `${url}/v1/sandboxes/${sandbox.id}`;

const exec = async (code) =>
  (await fetch(`${place}/exec`, { method: "POST", headers, body: JSON.stringify({ code }) })).text();
const rows = [
  ["info", async () => (await fetch(place, { headers })).json(), () => sandbox.info()],
  ["exec", () => exec("1"), () => sandbox.runCode("1")],
];

for (const [name, plain, ours] of rows) {
  const times = { plain: [], ours: [] };
  for (let count = 0; count < CALLS; count++) {
    for (const [kind, call] of [
      ["plain", plain],
      ["ours", ours],
    ]) {
      const begun = performance.now();
      await call();
      if (count >= CALLS / 10) times[kind].push(performance.now() - begun);
    }
  }
  const [p, o] = [median(times.plain), median(times.ours)];
  console.log(`${name}: fetch ${p.toFixed(2)} ms, podflare-nb ${o.toFixed(2)} ms, adds ${(o - p).toFixed(2)} ms`);
}

const many = `for i in range(${LINES}): print(i)`;
const rates = { plain: [], ours: [] };
for (let count = 0; count < 5; count++) {
  for (const [kind, call] of [
    ["plain", () => exec(many)],
    ["ours", () => sandbox.runCode(many)],
  ]) {
    const begun = performance.now();
    await call();
    rates[kind].push((LINES / (performance.now() - begun)) * 1000);
  }
}
const [plain, ours] = [median(rates.plain), median(rates.ours)];
console.log(
  `stream: fetch ${plain.toFixed(0)} lines/s, podflare-nb ${ours.toFixed(0)} lines/s, ${((ours / plain) * 100).toFixed(0)} %`,
);
await sandbox.close();

function median(values) {
  return values.sort((one, other) => one - other)[values.length >> 1];
}
