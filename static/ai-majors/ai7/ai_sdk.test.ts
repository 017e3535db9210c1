// The tool that runs code in `ai` 7: `inputSchema`, `stopWhen`, pictures by toModelOutput as `file` parts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generateText, stepCountIs, tool } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { podflareRunCode } from "podflare-nb/ai-sdk";
import { z } from "zod";

const PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n111 * 111";
const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 },
};
const reason = <R extends string>(unified: R) => ({ unified, raw: unified });

function model(...calls: object[]): MockLanguageModelV4 {
  const asked = calls.map((input, index) => ({
    usage,
    warnings: [],
    finishReason: reason("tool-calls"),
    content: [
      { type: "tool-call" as const, toolCallId: `call_${index}`, toolName: "runCode", input: JSON.stringify(input) },
    ],
  }));
  const said = {
    usage,
    warnings: [],
    finishReason: reason("stop"),
    content: [{ type: "text" as const, text: "done" }],
  };
  const replies = [...asked, said];
  return new MockLanguageModelV4({
    doGenerate: async (options) => (prompts.push(options.prompt), replies.shift() as never),
  });
}
let prompts: any[] = [];

// Old forms are taken, with a warning.
const warned: unknown[] = [];
Object.assign(globalThis, { AI_SDK_LOG_WARNINGS: (told: unknown) => warned.push(told) });

/** What the model was told of its last call. */
const told = () => prompts.at(-1).at(-1).content[0].output;

test("the seed's snippet runs", async () => {
  prompts = [];
  const pf = podflareRunCode({ template: "python-datasci" });
  const result = await generateText({
    model: model({ code: PLOT }),
    tools: {
      runCode: tool({
        description: pf.description,
        inputSchema: z.object({
          code: z.string(),
          language: z.enum(["python", "bash"]).optional(),
        }),
        execute: pf.execute,
      }),
    },
    prompt: "Fetch the top 5 HN stories and chart their scores.",
    stopWhen: stepCountIs(10),
  });
  const notebook = await (await pf.sandbox()).notebook();
  await pf.close();
  assert.equal(result.text, "done");
  assert.match(told().value.text, /^<Figure[^]*12321$/);
  assert.ok(JSON.stringify(told()).length < 1000, "the picture is not in the text");
  assert.match(JSON.stringify(notebook.cells[0]?.metadata), /call_0[^]*ai-sdk|ai-sdk[^]*call_0/);
});

test("as it stands it gives pictures as pictures, and answers wrong arguments", async () => {
  prompts = [];
  await using pf = podflareRunCode();
  const wrong = [{ source: "1" }, { code: 7 }, { code: "1", language: "perl" }];
  const tools = { runCode: pf };
  const result = await generateText({
    model: model(...wrong, { code: PLOT }),
    tools,
    prompt: "?",
    stopWhen: stepCountIs(9),
  });
  assert.equal(result.text, "done");
  const answers = prompts.slice(1).map((prompt) => prompt.at(-1).content[0].output);
  assert.deepEqual(
    answers.map((answer) => answer.type),
    ["error-text", "error-text", "error-text", "content"],
  );
  assert.match(answers[0].value, /no argument 'source'[^]*Call it with/);
  assert.match(answers[1].value, /code is a number, not a string/);
  assert.match(answers[2].value, /cannot be 'perl'/);
  const [text, image] = told().value;
  assert.match(text.text, /12321$/);
  assert.deepEqual(
    [image.type, image.mediaType, image.data.type, image.data.data.slice(0, 5)],
    ["file", "image/png", "data", "iVBOR"],
  );
  assert.deepEqual(warned, []);
});
