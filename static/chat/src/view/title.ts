// A sandbox's title for people: its first message, without the code that it may hold. The service sends the message
// on one line and cut short, so what can be told is where a block begins and where a first comment's sentence ends.

export function titleOf(message: string | null): string {
  const line = (message ?? "").replace(/\s+/g, " ").trim();
  const prose = line.split("```")[0]?.trim() ?? "";
  if (prose === "") return line.replace(/^```\w*\s*/, "").replace(/\s*```.*$/, "") || "New sandbox";
  const code = prose.replace(/^%%\w+\s*/, "");
  return /^#+ ?([^.#]+)\./.exec(code)?.[1] ?? code;
}
