// Running code for the Anthropic SDK, with the real client against a local server that speaks its protocol.

import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";
import { Sandbox } from "podflare-nb";
import { codeExecutionTool, handleCodeExecutionToolUse, runToolLoop } from "podflare-nb/anthropic";
import { type Answer, json, StandIn } from "./stand_in.js";

const PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n111 * 111";
const request = { model: "claude-test", max_tokens: 1024 };

function says(...content: object[]): Answer {
  const stop_reason = content.some((block) => "input" in block) ? "tool_use" : "end_turn";
  const usage = { input_tokens: 1, output_tokens: 1 };
  return json({ id: "msg_1", type: "message", role: "assistant", model: "claude-test", content, stop_reason, usage });
}

const text = (text: string) => ({ type: "text", text });
const use = (id: string, input: unknown, name = "code_execution") => ({ type: "tool_use", id, name, input });

test("the loop runs what the model wants and shows it pictures", async () => {
  await using provider = await StandIn.start(
    says(text("Let me compute."), use("toolu_1", { code: "x = 111" }), use("toolu_2", { code: PLOT })),
    says(use("toolu_3", { sql: "select 1" }), use("toolu_4", {}, "search"), use("toolu_5", { q: "hi" }, "look_up")),
    says(text("It is 12321.")),
  );
  const client = new Anthropic({ baseURL: provider.origin, apiKey: "sk-test-1", maxRetries: 0 });
  await using sandbox = await Sandbox.create();
  const done = await runToolLoop(client, sandbox, [{ role: "user", content: "what is 111 * 111?" }], {
    request,
    ownTools: { look_up: async (input) => `looked up ${JSON.stringify(input)}` },
  });
  assert.equal(done.text, "It is 12321.");
  assert.deepEqual(provider.seen[0]?.body.tools, [codeExecutionTool()]);
  const [first, second] = [1, 2].map((index) => provider.seen[index]?.body.messages.at(-1).content);
  assert.deepEqual(first[0], { type: "tool_result", tool_use_id: "toolu_1", content: "(no output)" });
  assert.match(first[1].content[0].text, /12321$/);
  assert.deepEqual(first[1].content[1].source.media_type, "image/png");
  assert.deepEqual(
    second.map((result: any) => result.is_error),
    [true, true, undefined],
  );
  assert.match(second[0].content, /no argument 'sql'/);
  assert.match(second[1].content, /no tool "search"/);
  assert.equal(second[2].content, 'looked up {"q":"hi"}');
  const { cells } = await sandbox.notebook();
  const sources = cells.map((cell) => [cell.source].flat().join(""));
  assert.deepEqual(sources, ["what is 111 * 111?", "Let me compute.", "x = 111", PLOT, "It is 12321."]);
  const facts = JSON.stringify(cells[2]?.metadata);
  for (const word of ["toolu_1", "anthropic-sdk", "claude-test"]) assert.ok(facts.includes(word), word);
});

test("what was said is recorded at any length, and without what is no character", async () => {
  const half = "half \ud83d of a pair \0 and \u{1f389}";
  await using provider = await StandIn.start(says(text(half)));
  const client = new Anthropic({ baseURL: provider.origin, apiKey: "sk-test-1", maxRetries: 0 });
  await using sandbox = await Sandbox.create();
  const asked = `begin${"\u2603".repeat(1_000_000)}end`;
  const warnings: string[] = [];
  const onWarning = (sentence: string) => warnings.push(sentence);
  await runToolLoop(client, sandbox, [{ role: "user", content: asked }], { request, onWarning });
  const { cells } = await sandbox.notebook();
  const [long = "", said] = cells.map((cell) => [cell.source].flat().join(""));
  assert.deepEqual(warnings, []);
  assert.match(long, /^begin\u2603+\n\[\.\.\. [\d,]+ of 1,000,008 characters cut here \.\.\.\]\n\u2603+end$/);
  assert.equal(said, "half \ufffd of a pair \ufffd and \u{1f389}");
});

test("a loop has an end, and a failed run is an error result", async () => {
  await using provider = await StandIn.start();
  provider.otherwise = says(use("toolu_1", { code: "1 / 0" }));
  const client = new Anthropic({ baseURL: provider.origin, apiKey: "sk-test-1", maxRetries: 0 });
  await using sandbox = await Sandbox.create();
  const done = await runToolLoop(client, sandbox, [{ role: "user", content: "?" }], { request, maxRequests: 3 });
  assert.deepEqual([provider.seen.length, done.message.stop_reason], [3, "tool_use"]);
  const result = await handleCodeExecutionToolUse(
    { id: "toolu_9", name: "code_execution", input: { code: "1 / 0" } },
    sandbox,
  );
  assert.equal(result.is_error, true);
  assert.match(String(result.content), /^The code failed \(exit code 1\)\.[^]*ZeroDivisionError/);
  await sandbox.close();
  const gone = await handleCodeExecutionToolUse(
    { id: "toolu_9", name: "code_execution", input: '{"code": "1"}' },
    sandbox,
  );
  assert.match(String(gone.content), /Calling the tool again will not help/);
});
