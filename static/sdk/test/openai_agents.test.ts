// The tool that runs code in the OpenAI Agents SDK, with the SDK's own scripted model.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Agent, run } from "@openai/agents";
import { assistantMessage, functionCall, ScriptedModel } from "@openai/agents/testing";
import { Sandbox } from "podflare-nb";
import { podflareCodeInterpreter } from "podflare-nb/openai-agents";

const PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n111 * 111";

function model(...calls: (object | string)[]): ScriptedModel {
  const asked = calls.map((input, index) => [functionCall("run_code", input as string, { callId: `call_${index}` })]);
  return new ScriptedModel([...asked, [assistantMessage("It is 12321.")]]);
}

/** What the model was told after each of its calls. */
function told(scripted: ScriptedModel): any[] {
  const input = scripted.lastCall?.request.input;
  return Array.isArray(input)
    ? input.filter((item) => item.type === "function_call_result").map((item) => item.output)
    : [];
}

test("an agent runs code in a sandbox, sees pictures, and is in the notebook", async () => {
  await using interpreter = podflareCodeInterpreter({ template: "python-datasci", model: "openai:gpt-test" });
  const scripted = model({ code: "x = 111" }, { code: PLOT.replace("111 * 111", "x * x"), language: null });
  const instructions = "Use the run_code tool to answer data questions.";
  const agent = new Agent({ name: "assistant", instructions, model: scripted, tools: [interpreter] });
  const result = await run(agent, "what is 111 * 111?");
  assert.equal(result.finalOutput, "It is 12321.");
  const [text, image] = told(scripted)[1];
  assert.match(text.text, /12321$/);
  assert.match(JSON.stringify(image), /image\/png[^]*iVBOR|iVBOR[^]*image\/png/);
  const { cells } = await (await interpreter.sandbox()).notebook();
  assert.match(JSON.stringify(cells[0]?.metadata), /call_0/);
  assert.match(JSON.stringify(cells[1]?.metadata), /openai-agents/);
  assert.match(JSON.stringify(cells[1]?.metadata), /gpt-test/);
});

test("wrong arguments and a closed sandbox are answers, and the loop goes on", async () => {
  await using sandbox = await Sandbox.create();
  const interpreter = podflareCodeInterpreter({ sandbox });
  const scripted = model("{not json", { cod: "1" }, { code: ["1"] }, { code: "print('x' * 20_000)" });
  const agent = new Agent({ name: "assistant", model: scripted, tools: [interpreter] });
  await run(agent, "go");
  const text = (answer: any): string => answer.text ?? answer;
  const [notJson, unknown, wrong, long] = told(scripted).map(text) as [string, string, string, string];
  assert.match(notJson, /JSON/);
  assert.match(unknown, /no argument 'cod'/);
  assert.match(wrong, /code is an array, not a string/);
  assert.match(long, /^x{5333}\n\[\.\.\. 12,000 of 20,000 characters cut here \.\.\.\]\nx{2667}$/);
  await interpreter.close();
  assert.equal((await sandbox.info()).state, "ready", "who brought it closes it");
  await (await Sandbox.connect(sandbox.id)).close();
  const after = model({ code: "1" });
  await run(new Agent({ name: "assistant", model: after, tools: [interpreter] }), "again");
  assert.match(text(told(after)[0]), /Calling the tool again will not help/);
});
