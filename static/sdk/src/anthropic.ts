// Running code for the Anthropic SDK (`@anthropic-ai/sdk`): a client tool, its results, and the loop around them.
//
// The provider's own code_execution tools run on the provider's side and never ask a client; `codeExecutionTool` is a
// client tool of that name, which does.

import type Anthropic from "@anthropic-ai/sdk";
import { CodeTool, type CodeToolOptions, DESCRIPTION, inputSchema, type ToolOutcome } from "./code_tool.js";
import { PodflareError } from "./errors.js";
import type { Provenance } from "./execution.js";
import { DEFAULT_LIMIT, shorten } from "./observation.js";
import type { Sandbox } from "./sandbox.js";

type Message = Anthropic.Messages.Message;
type MessageParam = Anthropic.Messages.MessageParam;
type Tool = Anthropic.Messages.Tool;
type ToolResult = Anthropic.Messages.ToolResultBlockParam;
type ToolUse = Pick<Anthropic.Messages.ToolUseBlock, "id" | "name" | "input">;

const NAME = "code_execution";
const OPERATOR = "anthropic-sdk";
const MAX_REQUESTS = 50;
/** Bytes of one recorded message that the service takes. */
const LONGEST_RECORD = 1024 * 1024;

/** The specification to put into `tools`. */
export function codeExecutionTool(): Tool {
  return { name: NAME, description: DESCRIPTION, input_schema: inputSchema() };
}

export interface HandleOptions extends Pick<CodeToolOptions, "runSeconds" | "limit">, Omit<Provenance, "toolCallId"> {
  signal?: AbortSignal | undefined;
}

/** Run what a `tool_use` block asks for and give the `tool_result` block that answers it; `is_error` on failure. */
export async function handleCodeExecutionToolUse(
  block: ToolUse,
  sandbox: Sandbox,
  options: HandleOptions = {},
): Promise<ToolResult> {
  const { signal, turnId, operator = OPERATOR, ...rest } = options;
  const tool = new CodeTool({ sandbox, operator, ...rest });
  return resultOf(block, await tool.run(block.input, { toolCallId: block.id.slice(0, 200), turnId, signal }));
}

/** What a tool of the caller's own answers: text, or blocks as the provider takes them. */
export type OwnTool = (input: unknown, block: ToolUse) => Promise<NonNullable<ToolResult["content"]>>;

export interface ToolLoopOptions extends HandleOptions {
  /** As for `client.messages.create`; `tools` are added to the code tool. */
  request: Omit<Anthropic.Messages.MessageCreateParamsNonStreaming, "messages">;
  /** What runs the caller's own tools, by name. What they throw is told to the model. */
  ownTools?: Readonly<Record<string, OwnTool>> | undefined;
  /** After so many requests the loop stops, whatever the model wants; 50 unless named. */
  maxRequests?: number | undefined;
  /** Told when what was said could not be written into the notebook; the loop goes on. `console.warn` unless named. */
  onWarning?: ((sentence: string) => unknown) | undefined;
}

export interface ToolLoopResult {
  /** The model's last message. */
  readonly message: Message;
  /** The whole conversation: the messages that were given and all that came. */
  readonly messages: MessageParam[];
  /** What it said last. */
  readonly text: string;
}

/**
 * Ask the model, run the code that it wants in the sandbox, and ask again until it is done.
 *
 * What it says and what it runs are cells of the sandbox's notebook. Throws what the provider's client throws.
 */
export async function runToolLoop(
  client: Pick<Anthropic, "messages">,
  sandbox: Sandbox,
  messages: readonly MessageParam[],
  options: ToolLoopOptions,
): Promise<ToolLoopResult> {
  const { request, maxRequests = MAX_REQUESTS, signal } = options;
  const all = [...messages];
  const tools = [codeExecutionTool(), ...(request.tools ?? [])];
  const said = (text: string, model: string | undefined, role: "assistant" | "user") =>
    recordSaid(sandbox, text, { ...options, model }, role);
  const asked = all.at(-1);
  if (asked?.role === "user") await said(textOf(asked.content), options.model, "user");
  for (let count = 1; ; count++) {
    const message = await client.messages.create({ ...request, tools, messages: all }, { signal: signal ?? null });
    const model = options.model ?? `anthropic:${message.model}`;
    all.push({ role: "assistant", content: message.content });
    const text = textOf(message.content);
    await said(text, model, "assistant");
    const wanted = message.content.filter((block) => block.type === "tool_use");
    const goesOn = (wanted.length > 0 && message.stop_reason === "tool_use") || message.stop_reason === "pause_turn";
    if (!goesOn || count >= maxRequests) return { message, messages: all, text };
    const results: ToolResult[] = [];
    for (const block of wanted) results.push(await answer(block, sandbox, { ...options, model }));
    if (results.length) all.push({ role: "user", content: results });
  }
}

async function answer(block: ToolUse, sandbox: Sandbox, options: ToolLoopOptions): Promise<ToolResult> {
  if (block.name === NAME) return handleCodeExecutionToolUse(block, sandbox, options);
  const own = Object.hasOwn(options.ownTools ?? {}, block.name) ? options.ownTools?.[block.name] : undefined;
  if (!own) return failure(block, `There is no tool ${JSON.stringify(block.name)}; to run code there is ${NAME}.`);
  try {
    return { type: "tool_result", tool_use_id: block.id, content: await own(block.input, block) };
  } catch (error) {
    options.signal?.throwIfAborted();
    return failure(block, String(error));
  }
}

function failure(block: ToolUse, text: string): ToolResult {
  return { type: "tool_result", tool_use_id: block.id, content: shorten(text, DEFAULT_LIMIT), is_error: true };
}

function resultOf(block: ToolUse, { text, images, isError }: ToolOutcome): ToolResult {
  const pictures = images.map(({ data, mediaType }): Anthropic.Messages.ImageBlockParam => {
    const media_type = mediaType as Anthropic.Messages.Base64ImageSource["media_type"];
    return { type: "image", source: { type: "base64", media_type, data } };
  });
  // An error's content is text alone: the provider refuses anything else beside is_error.
  const content: ToolResult["content"] = pictures.length && !isError ? [{ type: "text", text }, ...pictures] : text;
  return { type: "tool_result", tool_use_id: block.id, content, ...(isError ? { is_error: true } : {}) };
}

async function recordSaid(
  sandbox: Sandbox,
  text: string,
  options: ToolLoopOptions,
  role: "assistant" | "user",
): Promise<void> {
  if (!text.trim()) return;
  const { turnId, operator = OPERATOR, model, signal, onWarning = console.warn } = options;
  try {
    await sandbox.record(recordable(text), { role, turnId, operator, model, signal });
  } catch (error) {
    if (!(error instanceof PodflareError)) throw error;
    onWarning(`A message was not recorded in the notebook: ${error.message}`);
  }
}

/** A message that the service takes: within its limit, and without what is no character (models send that too). */
function recordable(message: string): string {
  const told = message.replace(/\0|\p{Surrogate}/gu, "\ufffd");
  return new TextEncoder().encode(told).length <= LONGEST_RECORD ? told : shorten(told, 200_000);
}

function textOf(content: MessageParam["content"]): string {
  if (typeof content === "string") return content;
  return content.flatMap((block) => (block.type === "text" ? block.text : [])).join("\n\n");
}
