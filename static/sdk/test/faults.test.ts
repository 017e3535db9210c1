// What the client does when the service refuses, goes away, is slow or lies.

import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import {
  Client,
  ConnectionLostError,
  type ExecResult,
  InvalidArgumentError,
  NoCapacityError,
  QuotaExceededError,
  Sandbox,
  ServiceUnreachableError,
  StreamBrokenError,
  TimedOutError,
  UnexpectedAnswerError,
} from "podflare-nb";
import { podflareRunCode } from "podflare-nb/ai-sdk";
import { cut, EXIT, events, json, READY, refused, StandIn } from "./stand_in.js";

const LINE = { type: "stdout", data: "so far" };

async function sandboxOf(service: StandIn): Promise<Sandbox> {
  return Sandbox.connect("sbx_5", service.service);
}

test("a refusal that passes is waited for as long as the service says, with the same idempotency key", async () => {
  await using service = await StandIn.start(refused(429, "quota_exceeded", { "Retry-After": "0" }), cut, json(READY));
  const sandbox = await Sandbox.create(service.service);
  assert.equal(sandbox.id, "sbx_5");
  const keys = service.seen.map((request) => request.headers["idempotency-key"]);
  assert.equal(keys.length, 3);
  assert.match(String(keys[0]), /^[!-~]{16,255}$/);
  assert.equal(new Set(keys).size, 1);
  service.script.push(cut, json({ children: ["sbx_6"], warnings: [], failures: [] }));
  const [child] = await sandbox.fork();
  assert.equal(child?.id, "sbx_6");
  assert.notEqual(service.seen.at(-1)?.headers["idempotency-key"], keys[0]);
});

test("a wait that is longer than a call should take is left to the caller", async () => {
  await using service = await StandIn.start(refused(429, "quota_exceeded", { "Retry-After": "60" }));
  await assert.rejects(
    Sandbox.create(service.service),
    (error) => error instanceof QuotaExceededError && error.retryAfter === 60,
  );
  assert.equal(service.seen.length, 1);
});

test("a time to come again may be a date", async () => {
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  await using service = await StandIn.start(refused(503, "no_capacity", { "Retry-After": date }));
  await assert.rejects(
    Sandbox.create(service.service),
    (error) => error instanceof NoCapacityError && Math.abs(error.retryAfter! - 3600) < 60,
  );
  assert.equal(service.seen.length, 1);
});

test("answers of something that is no podflare_nb are told as such", async () => {
  await using service = await StandIn.start(json([]), json({}), json(READY), events([LINE, { ...EXIT, data: "x" }]));
  await assert.rejects(Sandbox.create(service.service), UnexpectedAnswerError);
  await assert.rejects(Sandbox.create(service.service), UnexpectedAnswerError);
  const sandbox = await Sandbox.create(service.service);
  await assert.rejects(sandbox.runCode("1"), UnexpectedAnswerError);
});

test("retries are counted, and none are made when none are wanted", async () => {
  await using service = await StandIn.start();
  service.otherwise = refused(503, "no_capacity", { "Retry-After": "0" });
  await assert.rejects(Sandbox.create(service.service), NoCapacityError);
  assert.equal(service.seen.length, 3);
  await assert.rejects(Sandbox.create({ ...service.service, retries: 0 }), NoCapacityError);
  assert.equal(service.seen.length, 4);
});

test("code whose answer was cut is not run again, nor after a refusal that says nothing of coming again", async () => {
  await using service = await StandIn.start(json(READY), refused(503, "no_capacity"), cut);
  const sandbox = await sandboxOf(service);
  await assert.rejects(sandbox.runCode("pay()"), NoCapacityError);
  assert.equal(service.seen.length, 2);
  await assert.rejects(
    sandbox.runCode("pay()"),
    (error) => error instanceof ConnectionLostError && !(error instanceof StreamBrokenError),
  );
  assert.equal(service.seen.length, 3);
  service.script.push(refused(429, "quota_exceeded", { "Retry-After": "0" }), events([LINE, EXIT]));
  assert.equal((await sandbox.runCode("pay()")).stdout, "so far");
});

test("a refused connection is told beside the output, with its reason, and not in it", async () => {
  const data = { verdict: "refused", protocol: "http", host: "a.example", port: 80, reason: "a.example:80 is not allowed." };
  const other = { ...data, host: "::1", port: null, protocol: "icmp", reason: null };
  const told = [data, other].map((one) => ({ type: "network", data: one }));
  await using service = await StandIn.start(json(READY), events([LINE, ...told, EXIT]));
  const result = await (await sandboxOf(service)).runCode("ask()");
  assert.deepEqual([result.stdout, result.stderr], ["so far", ""]);
  assert.deepEqual(result.refused, [data, other]);
  const messages = result.notices.map((notice) => `${notice.code}: ${notice.message}`);
  assert.deepEqual(messages, ["network_refused: a.example:80 is not allowed.", "network_refused: ::1 (icmp) was refused."]);
});

test("a stream that is cut tells what is known of the run", async () => {
  await using service = await StandIn.start(json(READY), events([LINE, LINE], { cutAfter: true }), events([LINE]));
  const sandbox = await sandboxOf(service);
  for (const [received, text, mayStillRun] of [
    [2, "so far\nso far", true],
    [1, "so far", false],
  ] as const) {
    await assert.rejects(sandbox.runCode("work()"), (error) => {
      assert.ok(error instanceof StreamBrokenError);
      assert.deepEqual([error.eventsReceived, error.lastSeq, error.stdout], [received, received - 1, text]);
      assert.deepEqual([error.mayStillRun, error.sandboxId], [mayStillRun, "sbx_5"]);
      return true;
    });
  }
  service.script.push(
    events([LINE, { type: "error", data: { code: "internal", message: "It broke here." }, seq: -1 }]),
  );
  await assert.rejects(sandbox.runCode("work()"), {
    name: "StreamBrokenError",
    message: /It broke here\..*runs no more/,
  });
  service.script.push(events([LINE, { ...EXIT }], { cutAfter: true }));
  assert.equal((await sandbox.runCode("work()")).stdout, "so far", "behind an exit nothing is missing");
});

test("events of a newer service are passed by", async () => {
  await using service = await StandIn.start(json(READY), events([{ type: "hologram", data: { x: 1 } }, LINE, EXIT]));
  const result = await (await sandboxOf(service)).runCode("1");
  assert.equal(result.stdout, "so far");
});

test("a turn whose stream is cut is taken up behind the last event", async () => {
  const start = { type: "turn-start", data: { turn_id: "t1", message: "hi", model: "m" } };
  const end = { type: "turn-end", data: { turn_id: "t1", status: "ok", usage: null } };
  await using service = await StandIn.start(
    json(READY),
    events([start], { cutAfter: true }),
    refused(503, "no_capacity", { "Retry-After": "0" }),
    events([{ ...end, seq: 1 }]),
  );
  const turn = await (await sandboxOf(service)).chat("hi").final();
  assert.deepEqual([turn.id, turn.status], ["t1", "ok"]);
  assert.equal(service.seen.at(-1)?.path, "/podflare/v1/sandboxes/sbx_5/chat/t1/events?after=0");
});

test("the key goes to no other place by a redirect", async () => {
  await using elsewhere = await StandIn.start();
  await using service = await StandIn.start((response) =>
    response.writeHead(307, { Location: elsewhere.origin }).end(),
  );
  await assert.rejects(
    Sandbox.create(service.service),
    (error) => error instanceof UnexpectedAnswerError && /redirect/.test(error.message),
  );
  assert.deepEqual(elsewhere.seen, []);
});

test("a service that is not there, and one that is another, are told apart", async () => {
  const gone = await StandIn.start();
  const { service } = gone;
  await gone[Symbol.asyncDispose]();
  await assert.rejects(
    Sandbox.create(service),
    (error) => error instanceof ServiceUnreachableError && error.message.includes(service.host),
  );
  assert.equal(await new Client(service).isHealthy(), false);
  await using other = await StandIn.start((response) => response.writeHead(404).end("<html>nginx</html>"));
  await assert.rejects(Sandbox.create(other.service), UnexpectedAnswerError);
  other.script.push((response) => response.end("hello"));
  await assert.rejects(Sandbox.create(other.service), UnexpectedAnswerError);
  await assert.rejects(Sandbox.create({ host: "127.0.0.1:8888" }), InvalidArgumentError);
});

test("an abort ends a wait between two attempts and a call under way", async () => {
  await using service = await StandIn.start();
  const stop = new AbortController();
  service.otherwise = (response) => {
    refused(503, "no_capacity", { "Retry-After": "9" })(response, service.seen[0]!);
    setImmediate(() => stop.abort(new Error("enough")));
  };
  await assert.rejects(Sandbox.create({ ...service.service, signal: stop.signal }), { message: "enough" });
  const hung = new AbortController();
  service.otherwise = () => hung.abort(new Error("hung up"));
  await assert.rejects(Sandbox.create({ ...service.service, signal: hung.signal }), { message: "hung up" });
});

test("a service that does not answer is given up on, and not asked again", async (context) => {
  await using service = await StandIn.start(json(READY));
  const sandbox = await sandboxOf(service);
  context.mock.timers.enable({ apis: ["setTimeout"] });
  service.otherwise = () => setImmediate(() => context.mock.timers.tick(120_000));
  await assert.rejects(
    sandbox.info(),
    (error) => error instanceof TimedOutError && /within 120 seconds/.test(error.message),
  );
  assert.equal(service.seen.length, 2);
});

test("code may be silent for longer than the runtime's fetch waits", async () => {
  type Dispatchers = Record<symbol, { constructor: new (options: object) => never }>;
  const own = globalThis as unknown as Dispatchers;
  const symbol = Symbol.for("undici.globalDispatcher.1");
  await using service = await StandIn.start(json(READY));
  const sandbox = await sandboxOf(service);
  const patient = own[symbol]!;
  own[symbol] = new patient.constructor({ bodyTimeout: 50, headersTimeout: 50 });
  try {
    const open: ServerResponse[] = [];
    service.otherwise = (response) => {
      open.push(response.writeHead(200));
      response.write(`${JSON.stringify({ seq: 0, ts: 1, ...LINE })}\n`);
    };
    let run: Promise<ExecResult> | undefined;
    await new Promise((begun) => (run = sandbox.runCode("think()", { onStdout: begun })));
    // The runtime's own patience is the clock: a plain request that began later has lost it.
    await assert.rejects((await fetch(service.origin)).text());
    open[0]?.end(`${JSON.stringify(EXIT)}\n`);
    assert.equal((await run)?.stdout, "so far");
  } finally {
    own[symbol] = patient;
  }
});

test("the local service's key goes to no other host", async (context) => {
  await using service = await StandIn.start();
  const { mkdtemp, rm, writeFile } = await import("node:fs/promises");
  const folder = await mkdtemp("/tmp/podflare-sdk-");
  context.after(() => rm(folder, { recursive: true }));
  await writeFile(`${folder}/api-key`, "pnb_local\n");
  await writeFile(`${folder}/service.json`, JSON.stringify({ url: service.service.host }));
  const before = { ...process.env };
  context.after(() => Object.assign(process.env, before));
  for (const name of ["PODFLARE_NB_URL", "PODFLARE_HOST", "PODFLARE_NB_API_KEY", "PODFLARE_API_KEY"])
    delete process.env[name];
  process.env["PODFLARE_NB_DATA_DIR"] = folder;
  await Sandbox.create();
  assert.equal(service.seen[0]?.headers.authorization, "Bearer pnb_local");
  await using other = await StandIn.start();
  await Sandbox.create({ host: other.service.host });
  assert.equal(other.seen[0]?.headers.authorization, undefined);
  process.env["PODFLARE_API_KEY"] = "pnb_hosted";
  await Sandbox.create({ host: other.service.host });
  assert.equal(other.seen[1]?.headers.authorization, "Bearer pnb_hosted");
});

test("a tool makes one sandbox for calls at once, and another try after one that could not be made", async () => {
  await using service = await StandIn.start(refused(429, "quota_exceeded", { "Retry-After": "60" }));
  await using tool = podflareRunCode({ ...service.service, template: "t" });
  const busy = await tool.execute({ code: "1" });
  assert.deepEqual([busy.isError, busy.text], [true, "No: quota_exceeded.\nTry again in 60 seconds."]);
  service.otherwise = (response, request) =>
    (request.path.endsWith("/exec") ? events([LINE, EXIT]) : json(READY))(response, request);
  const both = await Promise.all([tool.execute({ code: "1" }), tool.execute({ code: "2" }, { toolCallId: "call_2" })]);
  assert.deepEqual(
    both.map((output) => output.text),
    ["so far", "so far"],
  );
  const made = service.seen.filter((request) => request.path === "/podflare/v1/sandboxes");
  assert.deepEqual(
    made.map((request) => request.body.template),
    ["t", "t"],
  );
  assert.deepEqual(service.seen.at(-1)?.body.tool_call_id, "call_2");
  service.script.push(refused(410, "gone", {}, { reason: "idle_timeout" }));
  assert.match((await tool.execute({ code: "3" })).text, /^No: gone\. .* The next call starts a new sandbox\.$/);
  assert.equal((await tool.execute({ code: "4" })).text, "so far");
  assert.throws(() => podflareRunCode({ model: "gpt-4o" }), InvalidArgumentError);
  await tool.close();
  assert.equal(service.seen.at(-1)?.method, "DELETE");
  const late = await tool.execute({ code: "5" });
  assert.equal(late.isError, true);
  assert.match(late.text, /closed this tool's sandbox\.\nCalling the tool again will not help/);
  assert.equal(service.seen.at(-1)?.method, "DELETE", "and none is made that nobody would close");
});

test("installing packages gives how each manager ended, and says when one did not end well", async () => {
  const managers = { apt: { status: "error", exit_code: 100 }, python: { status: "skipped" } };
  const exit = { ...EXIT, data: 100, status: "error", managers };
  await using service = await StandIn.start(json(READY), events([LINE, exit]));
  const sandbox = await sandboxOf(service);
  const lines: string[] = [];
  const wanted = { apt: ["jq"], python: ["six"] };
  const done = await sandbox.installPackages(wanted, { timeoutSeconds: 60, onStdout: (line) => lines.push(line) });
  assert.deepEqual(service.seen.at(-1)?.body, { ...wanted, timeout_seconds: 60 });
  assert.equal(service.seen.at(-1)?.path, "/podflare/v1/sandboxes/sbx_5/packages");
  assert.deepEqual(lines, ["so far"]);
  assert.equal(done.ok, false);
  assert.equal(done.run.exitCode, 100);
  assert.deepEqual(done.managers, managers);
});
