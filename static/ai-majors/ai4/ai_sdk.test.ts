// The tool that runs code in `ai` 4: `parameters`, `maxSteps`, pictures by experimental_toToolResultContent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { generateText, tool } from "ai";
import { MockLanguageModelV1 } from "ai/test";
import { podflareRunCode } from "podflare-nb/ai-sdk";
import { z } from "zod";

const PLOT = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n111 * 111";
const usage = { promptTokens: 1, completionTokens: 1 };
const rawCall = { rawPrompt: null, rawSettings: {} };

function model(...calls: object[]): MockLanguageModelV1 {
  const asked = calls.map((args, index) => ({
    rawCall,
    usage,
    finishReason: "tool-calls" as const,
    toolCalls: [
      {
        toolCallType: "function" as const,
        toolCallId: `call_${index}`,
        toolName: "runCode",
        args: JSON.stringify(args),
      },
    ],
  }));
  const replies = [...asked, { rawCall, usage, finishReason: "stop" as const, text: "done" }];
  return new MockLanguageModelV1({
    doGenerate: async (options) => (prompts.push(options.prompt), replies.shift() as never),
  });
}
let prompts: any[] = [];

/** What the model was told of its last call. */
const told = () => prompts.at(-1).at(-1).content[0];

test("the seed's snippet runs", async () => {
  prompts = [];
  const pf = podflareRunCode({ template: "python-datasci" });
  const result = await generateText({
    model: model({ code: PLOT }),
    tools: {
      runCode: tool({
        description: pf.description,
        parameters: z.object({
          code: z.string(),
          language: z.enum(["python", "bash"]).optional(),
        }),
        execute: pf.execute,
      }),
    },
    prompt: "Fetch the top 5 HN stories and chart their scores.",
    maxSteps: 10,
  });
  const notebook = await (await pf.sandbox()).notebook();
  await pf.close();
  assert.equal(result.text, "done");
  assert.match(told().result.text, /^<Figure[^]*12321$/);
  assert.ok(JSON.stringify(told()).length < 1000, "the picture is not in the text");
  assert.match(JSON.stringify(notebook.cells[0]?.metadata), /call_0[^]*ai-sdk|ai-sdk[^]*call_0/);
});

test("as it stands it gives pictures as pictures, and answers wrong arguments", async () => {
  prompts = [];
  await using pf = podflareRunCode();
  const wrong = [{ source: "1" }, { code: 7 }, { code: "1", language: "perl" }];
  const result = await generateText({
    model: model(...wrong, { code: PLOT }),
    tools: { runCode: pf },
    prompt: "?",
    maxSteps: 9,
  });
  assert.equal(result.text, "done");
  const answers = result.steps.flatMap((step) =>
    step.toolResults.map((one: any) => [one.result.isError, one.result.text]),
  );
  assert.match(answers[0]?.[1], /no argument 'source'[^]*Call it with/);
  assert.match(answers[1]?.[1], /code is a number, not a string/);
  assert.match(answers[2]?.[1], /cannot be 'perl'/);
  assert.deepEqual(
    answers.map(([isError]) => isError),
    [true, true, true, false],
  );
  const [text, image] = told().content;
  assert.match(text.text, /12321$/);
  assert.deepEqual([image.type, image.mimeType, image.data.slice(0, 5)], ["image", "image/png", "iVBOR"]);
});
