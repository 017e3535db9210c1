// The client against the real service, whose address and key are in the environment.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  Client,
  GoneError,
  InvalidArgumentError,
  MergedError,
  NotFoundError,
  Sandbox,
  UnauthenticatedError,
} from "podflare-nb";
import { podflareRunCode } from "podflare-nb/ai-sdk";

const PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()";

test("a run gives text, the value, pictures and how it ended", async () => {
  await using sandbox = await Sandbox.create({ labels: { from: "typescript" } });
  const lines: string[] = [];
  const result = await sandbox.runCode(`print('a'); print('é 😀')\n${PLOT}\n6 * 7`, {
    onStdout: (line) => lines.push(line),
  });
  assert.equal(result.stdout, "a\né 😀");
  assert.deepEqual(lines, ["a", "é 😀"]);
  assert.equal(result.exitCode, 0);
  assert.equal(result.results.at(-1)?.text, "42");
  assert.equal(result.results.at(-1)?.isValue, true);
  assert.equal(result.images[0]?.mediaType, "image/png");
  assert.ok(atob(result.images[0]?.data ?? "").startsWith("\x89PNG"));
  assert.match(result.text, /^a\né 😀\n[^]*42$/);
  const failed = await sandbox.runCode("1 / 0");
  assert.deepEqual([failed.ok, failed.error?.ename], [false, "ZeroDivisionError"]);
  assert.throws(() => failed.throwForError(), { name: "CodeError", message: /division by zero/ });
  const bash = await sandbox.runCode("echo $0; exit 3", { language: "bash" });
  assert.deepEqual([bash.stdout, bash.exitCode], ["bash", 3]);
});

test("leaving the stream interrupts the code, and so does a signal", async () => {
  await using sandbox = await Sandbox.create();
  const endless = "print('begun', flush=True)\nwhile True: pass";
  for await (const event of sandbox.stream(endless)) if (event.type === "stdout") break;
  const stop = new AbortController();
  const run = sandbox.runCode(endless, { signal: stop.signal, onStdout: () => stop.abort(new Error("enough")) });
  await assert.rejects(run, { message: "enough" });
  assert.equal((await sandbox.runCode("print('alive')")).stdout, "alive");
  const timed = await sandbox.runCode("while True: pass", { timeoutSeconds: 0.2 });
  assert.deepEqual([timed.status, timed.exitCode, timed.statePreserved], ["timeout", 124, true]);
});

test("files go in and out as bytes, as text and as streams", async () => {
  await using sandbox = await Sandbox.create();
  const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
  await sandbox.files.write("data/b äö#?.bin", bytes);
  assert.deepEqual(await sandbox.files.read("./data/b äö#?.bin"), bytes);
  await sandbox.files.upload("up.txt", new Blob(["from ", "a blob"]));
  assert.equal(await sandbox.files.readText("up.txt"), "from a blob");
  await sandbox.files.upload("streamed.txt", new Blob(["x".repeat(300_000)]).stream());
  let size = 0;
  for await (const chunk of await sandbox.files.download("streamed.txt")) size += chunk.length;
  assert.equal(size, 300_000);
  assert.deepEqual((await sandbox.files.list()).map((file) => file.name).sort(), ["data", "streamed.txt", "up.txt"]);
  await sandbox.files.delete("data", { recursive: true });
  assert.deepEqual([await sandbox.files.exists("data"), await sandbox.files.exists("up.txt")], [false, true]);
  await assert.rejects(sandbox.files.read("nothing"), NotFoundError);
  await assert.rejects(sandbox.files.read("../../etc/passwd"), InvalidArgumentError);
  const half = (error: Error) => error instanceof InvalidArgumentError && /half of a surrogate pair/.test(error.message);
  await assert.rejects(sandbox.files.write("half \ud83d", "text"), half);
  await assert.rejects(sandbox.files.write("half.txt", "half \ud83d of a pair"), half);
});

test("a network is what was asked for, changes, and tells what it refused and why", async () => {
  const egress = { allow: ["files.example.org", "*.example.com:443"] };
  await using sandbox = await Sandbox.create({ template: "python-minimal", egress });
  assert.deepEqual((await sandbox.info()).egress, egress);
  const ask = "import urllib.request\nurllib.request.urlopen('http://elsewhere.example.net/')";
  const refused = await sandbox.runCode(ask);
  assert.match(refused.error?.evalue ?? "", /403.*files\.example\.org/);
  // Told beside the output, while the code still runs.
  const waits = "import os; os.mkfifo('/tmp/never')\ntry: from urllib.request import urlopen; urlopen('http://elsewhere.example.net/')\n" +
    "except OSError: open('/tmp/never').read()";
  let told = false;
  for await (const event of sandbox.stream(waits, { timeoutSeconds: 60 })) {
    told = event.type === "network";
    if (told) break;
  }
  assert.ok(told);
  const { connections, refused: count } = await sandbox.network();
  assert.ok(count >= 1);
  assert.deepEqual([connections[0]?.verdict, connections[0]?.host], ["refused", "elsewhere.example.net"]);
  assert.equal((await sandbox.setEgress(false)).egress, false);
  await assert.rejects(sandbox.setEgress({ allow: ["two words"] }), InvalidArgumentError);
});

test("branches are forked, compared and merged", async () => {
  await using sandbox = await Sandbox.create();
  await sandbox.runCode("x = 1");
  const branches = await sandbox.fork(2);
  const [one, other] = branches;
  assert.ok(one && other);
  await one.runCode("x = 2; open('new.txt', 'w').write('hi')");
  const diff = await sandbox.diff(one);
  assert.deepEqual(
    diff.files.added.map((file) => file.path.split("/").at(-1)),
    ["new.txt"],
  );
  assert.deepEqual(
    diff.variables.changed.map((variable) => variable.name),
    ["x"],
  );
  await sandbox.mergeInto(one);
  assert.equal((await sandbox.runCode("print(x)")).stdout, "2");
  assert.equal((await other.runCode("print(x)")).stdout, "1");
  await assert.rejects(one.runCode("1"), (error) => error instanceof MergedError && error.mergedInto === sandbox.id);
  assert.equal((await sandbox.branches()).length, 3);
  await branches.close();
  await assert.rejects(Sandbox.connect(other.id), GoneError);
});

test("a sandbox with checkpoints is rewound", async () => {
  await using sandbox = await Sandbox.create({ checkpoints: 3 });
  const first = await sandbox.runCode("y = 'first'", { turnId: "t1" });
  await sandbox.runCode("y = 'second'", { turnId: "t2" });
  assert.deepEqual(
    (await sandbox.checkpoints()).map((one) => one.turn_id),
    ["t1", "t2"],
  );
  await using kept = await sandbox.rewind(first.turnId ?? "");
  assert.equal((await sandbox.runCode("print(y)")).stdout, "first");
  assert.equal((await kept.runCode("print(y)")).stdout, "second");
});

test("the notebook holds who ran and said what, and is exported after the end", async () => {
  const sandbox = await Sandbox.create();
  const told = { toolCallId: "call_7", operator: "my-agent", model: "openai:gpt-test", turnId: "turn_7" };
  const run = await sandbox.runCode("print('hello')", told);
  const cellId = await sandbox.record("It says **hello**.", { operator: "my-agent", turnId: "turn_7" });
  await sandbox.close();
  await sandbox.close();
  const notebook = await sandbox.notebook();
  assert.deepEqual(
    notebook.cells.map((cell) => cell.id),
    [run.cellId, cellId],
  );
  const facts = JSON.stringify(notebook.cells[0]?.metadata);
  for (const word of ["call_7", "my-agent", "gpt-test", "turn_7"]) assert.ok(facts.includes(word), word);
  assert.match(await sandbox.exportNotebook("md"), /It says \*\*hello\*\*/);
  assert.match(await sandbox.exportNotebook("py"), /print\('hello'\)/);
  assert.match(await sandbox.exportNotebook("html"), /<html/i);
  assert.equal(JSON.parse(await sandbox.exportNotebook("ipynb")).nbformat, 4);
});

test("a turn of the chat is a stream of events and a whole", async () => {
  await using sandbox = await Sandbox.create();
  const turn = sandbox.chat("```python\nz = 5\nprint(z)\n```", { model: "direct" });
  const types = new Set<string>();
  for await (const event of turn) types.add(event.type);
  for (const type of ["turn-start", "cell-start", "cell-output", "turn-end"]) assert.ok(types.has(type), type);
  const whole = await turn.final();
  assert.equal(whole.status, "ok");
  assert.equal(whole.cells.find((cell) => cell.type === "code")?.stdout, "5\n");
  const again = await sandbox.chat("print(z + 1)", { model: "direct" }).final();
  assert.equal(again.cells.at(-1)?.stdout, "6\n");
  assert.deepEqual(
    (await sandbox.turns()).map((row) => row.turn_id),
    [whole.id, again.id],
  );
});

test("a terminal takes what is typed, has a size, and is taken up again", async () => {
  await using sandbox = await Sandbox.create();
  const terminal = await sandbox.terminals.create({
    argv: ["bash", "--norc"],
    cols: 100,
    rows: 30,
    env: { PS1: "$ " },
  });
  await Promise.all([terminal.write("tty && "), terminal.write("stty size\n")]);
  const seen = await until(terminal, /30 100/);
  assert.match(seen, /\/dev\/pts\//);
  const again = await sandbox.terminals.attach(terminal.id);
  assert.match(await until(again, /30 100/), /\/dev\/pts\//);
  await again.resize(90, 20);
  const third = await sandbox.terminals.attach(terminal.id, { after: again.seq });
  await third.write("stty size; exit 4\n");
  assert.match(await until(third, /20 90/), /^(?![^]*30 100)/);
  let rest = "";
  for await (const bytes of await sandbox.terminals.attach(terminal.id)) rest += new TextDecoder().decode(bytes);
  assert.match(rest, /30 100[^]*20 90/);
  assert.deepEqual(
    (await sandbox.terminals.list()).map((row) => row.exit_code),
    [4],
  );
});

async function until(terminal: AsyncIterable<Uint8Array>, pattern: RegExp): Promise<string> {
  let seen = "";
  for await (const bytes of terminal) {
    seen += new TextDecoder().decode(bytes);
    if (pattern.test(seen)) break;
  }
  return seen;
}

test("an error tells what it is, and what can be done", async () => {
  const sandbox = await Sandbox.create({ idleTimeoutSeconds: 600 });
  const elsewhere = await Sandbox.connect(sandbox.id);
  assert.equal((await elsewhere.extend({ labels: { a: "b" } })).labels["a"], "b");
  await elsewhere.close();
  await assert.rejects(sandbox.runCode("1"), (error) => error instanceof GoneError && error.reason === "closed");
  await assert.rejects(Sandbox.connect(sandbox.id), GoneError);
  await sandbox.close();
  await assert.rejects(Sandbox.connect("sbx_0"), NotFoundError);
  await assert.rejects(Sandbox.create({ template: "no-such" }), /no-such/);
  await assert.rejects(Sandbox.create({ apiKey: "wrong" }), (error) => {
    return error instanceof UnauthenticatedError && error.message.includes("the option apiKey");
  });
});

test("the service tells of itself and of its sandboxes", async () => {
  const client = new Client();
  assert.equal(await client.isHealthy(), true);
  assert.ok((await client.templates()).some((template) => template.default));
  assert.ok((await client.capabilities()).templates.length > 0);
  await using sandbox = await Sandbox.create();
  const found = [];
  for await (const info of client.sandboxes()) found.push(info.id);
  assert.ok(found.includes(sandbox.id));
});

test("a tool tells that its own sandbox has ended, and the next call starts a new one", async () => {
  await using tool = podflareRunCode();
  await tool.execute({ code: "x = 1" });
  const first = await tool.sandbox();
  await (await Sandbox.connect(first.id)).close();
  const ended = await tool.execute({ code: "x" });
  assert.equal(ended.isError, true);
  assert.match(ended.text, /The next call starts a new sandbox\.$/);
  const next = await tool.execute({ code: "6 * 7" });
  assert.deepEqual([next.isError, next.text], [false, "42"]);
  assert.notEqual((await tool.sandbox()).id, first.id);
  const halved = await tool.execute({ code: "print('\ud800')" });
  assert.match(halved.text, /half of a surrogate pair.*Call it with/);
});

test("what a sandbox serves is listed, reached and shown", async () => {
  await using sandbox = await Sandbox.create({ template: "python-minimal" });
  const begun = await sandbox.runCode(
    "import subprocess, sys\nopen('a.txt', 'w').write('served')\n" +
      "s = subprocess.Popen([sys.executable, '-u', '-m', 'http.server', '8000'], stdout=subprocess.PIPE)\n" +
      "s.stdout.readline()",
  );
  assert.equal(begun.ok, true);
  const [port] = await sandbox.ports.list();
  assert.deepEqual([port?.port, port?.address, port?.url], [8000, "0.0.0.0", sandbox.ports.url(8000)]);
  const { url } = await sandbox.ports.link(8000, { expiresSeconds: 60 });
  assert.equal(await (await fetch(`${url}a.txt`)).text(), "served");
  await sandbox.ports.revokeLinks(8000);
  assert.equal((await fetch(`${url}a.txt`)).status, 410);
  await assert.rejects(sandbox.ports.link(0), InvalidArgumentError);
});
