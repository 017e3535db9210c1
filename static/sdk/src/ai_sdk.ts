/// <reference lib="esnext.disposable" preserve="true" />
// The tool that runs code, for the Vercel AI SDK (`ai` 4, 5, 6 and 7). Needs no version of it to load.
//
// What `podflareRunCode` gives is a tool as it stands: `tools: { runCode: podflareRunCode() }`. Its parts can be put
// into `tool()` one by one, too, as the SDK's pages show it. The majors differ in the names of the schema
// (`parameters`, later `inputSchema`) and in how pictures go to the model; each finds its own here.

import { type CallFacts, CodeTool, type CodeToolOptions, DESCRIPTION, inputSchema } from "./code_tool.js";
import { isRecord } from "./errors.js";
import type { Image } from "./result.js";
import type { Sandbox } from "./sandbox.js";
import type { Language } from "./wire.js";

/** What the model and the program get of a run. Its pictures are not in it, but beside it: `images(output)`. */
export interface RunCodeOutput {
  readonly text: string;
  readonly isError: boolean;
  readonly exitCode?: number;
}

/** What the SDK tells a tool about the call; more than this with each major. */
export interface ToolCallFacts {
  readonly toolCallId?: string;
  readonly abortSignal?: AbortSignal | undefined;
}

type TextPart = { type: "text"; text: string };
type Content4 = TextPart | { type: "image"; data: string; mimeType: string };
type Content =
  | TextPart
  | { type: "media"; data: string; mediaType: string }
  | { type: "image-data"; data: string; mediaType: string }
  | { type: "file"; data: { type: "data"; data: string }; mediaType: string };
type ModelOutput = { type: "text" | "error-text"; value: string } | { type: "content"; value: Content[] };

export interface PodflareRunCode extends AsyncDisposable {
  readonly description: string;
  /** The schema for `ai` 5 and later. It lets everything through, so that wrong arguments are answered, not thrown. */
  readonly inputSchema: any;
  /** The same for `ai` 4. */
  readonly parameters: any;
  readonly execute: (
    input: { code: string; language?: Language | undefined },
    facts?: ToolCallFacts,
  ) => Promise<RunCodeOutput>;
  /** How `ai` 5 and later give a result to the model: with its pictures. */
  readonly toModelOutput: (given: any) => any;
  /** How `ai` 4 does. */
  readonly experimental_toToolResultContent: (output: RunCodeOutput) => Content4[];
  /** The pictures of a result that this tool gave in this process. */
  readonly images: (output: RunCodeOutput) => readonly Image[];
  /** The sandbox; made now if nothing ran yet. */
  readonly sandbox: () => Promise<Sandbox>;
  /** End the sandbox that was made here; one that was given stays open. */
  readonly close: () => Promise<void>;
}

/** A tool that runs code in a sandbox of its own, made at the first call, or in the one that is given. */
export function podflareRunCode(options: CodeToolOptions = {}): PodflareRunCode {
  const tool = new CodeTool({ operator: "ai-sdk", ...options });
  // Beside the results and not in them: what is in a result goes to the model as JSON where no toModelOutput is used.
  const pictures = new WeakMap<object, Pictures>();
  const picturesOf = (output: unknown): Pictures => (isRecord(output) && pictures.get(output)) || NONE;

  return {
    description: DESCRIPTION,
    inputSchema: schema(),
    parameters: schema(),
    execute: async (input, facts) => {
      const { text, images, isError, exitCode } = await tool.run(input, callFacts(facts));
      const output: RunCodeOutput = { text, isError, ...(exitCode === undefined ? {} : { exitCode }) };
      pictures.set(output, { images, major: majorOf(facts) });
      return output;
    },
    toModelOutput: (given) => {
      // Since 6 the output comes with the call that it is of; 5 gives it alone.
      const since6 = isRecord(given) && "output" in given && "toolCallId" in given;
      const output: unknown = since6 ? given["output"] : given;
      const { images, major } = picturesOf(output);
      return modelOutput(output, images, since6 ? (major === 7 ? 7 : 6) : 5);
    },
    experimental_toToolResultContent: (output) => [
      { type: "text", text: output.text },
      ...picturesOf(output).images.map(({ data, mediaType }): Content4 => ({
        type: "image",
        data,
        mimeType: mediaType,
      })),
    ],
    images: (output) => picturesOf(output).images,
    sandbox: () => tool.sandbox(),
    close: () => tool.close(),
    [Symbol.asyncDispose]: () => tool.close(),
  };
}

interface Pictures {
  readonly images: readonly Image[];
  readonly major: number | undefined;
}

const NONE: Pictures = { images: [], major: undefined };

function modelOutput(output: unknown, images: readonly Image[], major: 5 | 6 | 7): ModelOutput {
  const found = isRecord(output) ? output : {};
  const text = typeof found["text"] === "string" ? found["text"] : JSON.stringify(output ?? null);
  if (!images.length) return { type: found["isError"] === true ? "error-text" : "text", value: text };
  return { type: "content", value: [{ type: "text", text }, ...images.map((image) => PART[major](image))] };
}

const PART: Readonly<Record<5 | 6 | 7, (image: Image) => Content>> = {
  5: ({ data, mediaType }) => ({ type: "media", data, mediaType }),
  6: ({ data, mediaType }) => ({ type: "image-data", data, mediaType }),
  7: ({ data, mediaType }) => ({ type: "file", data: { type: "data", data }, mediaType }),
};

/** 7 by the context that only it hands to tools; the others tell themselves apart by how they ask for the result. */
function majorOf(facts: ToolCallFacts | undefined): number | undefined {
  return facts && "context" in facts ? 7 : undefined;
}

function callFacts(facts: ToolCallFacts | undefined): CallFacts {
  return { toolCallId: facts?.toolCallId?.slice(0, 200), signal: facts?.abortSignal };
}

/** A schema as the SDK's `jsonSchema()` makes it, in every major. */
function schema(): object {
  return {
    [Symbol.for("vercel.ai.schema")]: true,
    [Symbol.for("vercel.ai.validator")]: true,
    _type: undefined,
    jsonSchema: inputSchema(),
    validate: (value: unknown) => ({ success: true, value }),
  };
}
