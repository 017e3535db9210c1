/// <reference lib="esnext.disposable" preserve="true" />
// The tool that runs code, for the OpenAI Agents SDK (`@openai/agents`).

import { type FunctionTool, tool } from "@openai/agents";
import { CodeTool, type CodeToolOptions, DESCRIPTION, inputSchema, NAME } from "./code_tool.js";
import type { Sandbox } from "./sandbox.js";

type Output =
  string | ({ type: "text"; text: string } | { type: "image"; image: { data: string; mediaType: string } })[];

/** A function tool of the SDK that holds a sandbox. */
export type PodflareCodeInterpreter = FunctionTool<any, any, Output> &
  AsyncDisposable & {
    /** The sandbox; made now if nothing ran yet. */
    sandbox(): Promise<Sandbox>;
    /** End the sandbox that was made here; one that was given stays open. */
    close(): Promise<void>;
  };

/** The tool `run_code`, in a sandbox of its own that is made at the first call, or in the one that is given. */
export function podflareCodeInterpreter(options: CodeToolOptions & { name?: string } = {}): PodflareCodeInterpreter {
  const { name = NAME, ...rest } = options;
  const code = new CodeTool({ operator: "openai-agents", ...rest });
  const made = tool({
    name,
    description: DESCRIPTION,
    // Not strict: wrong arguments come through, and are answered with how to call it.
    strict: false,
    parameters: { ...inputSchema(), additionalProperties: true },
    execute: async (input: unknown, _context, details): Promise<Output> => {
      const toolCallId = details?.toolCall?.callId.slice(0, 200);
      const { text, images } = await code.run(input, { toolCallId, signal: details?.signal });
      if (!images.length) return text;
      return [{ type: "text", text }, ...images.map((image) => ({ type: "image" as const, image }))];
    },
  });
  return Object.assign(made as FunctionTool<any, any, Output>, {
    sandbox: () => code.sandbox(),
    close: () => code.close(),
    [Symbol.asyncDispose]: () => code.close(),
  });
}
