// Cuts a stream of bytes into its lines as they arrive. Empty lines (keep-alives) are dropped, and so is a last
// line without its newline: it was torn by a lost connection and comes again when the stream is resumed.

export async function* readLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      for (const line of parts) if (line.trim() !== "") yield line;
    }
  } finally {
    await reader.cancel().catch(() => undefined); // the connection may be gone already; there is no one to tell
  }
}
