// A JSON value as a tree that opens and closes, built of <details>. Bounded: big containers say how much they hide.

const MOST_CHILDREN = 200;
const OPEN_DEPTH = 2;

export function jsonTree(value: unknown, depth = 0): HTMLElement {
  if (value === null || typeof value !== "object") return leaf(value);
  const entries = Object.entries(value);
  const array = Array.isArray(value);
  if (entries.length === 0) return text("json-leaf", array ? "[]" : "{}");
  const details = document.createElement("details");
  details.open = depth < OPEN_DEPTH;
  const summary = document.createElement("summary");
  summary.textContent = array ? `list of ${entries.length}` : `${entries.length} ${entries.length === 1 ? "key" : "keys"}`;
  details.append(summary);
  let filled = false;
  const fill = (): void => {
    if (filled || !details.open) return;
    filled = true;
    for (const [key, child] of entries.slice(0, MOST_CHILDREN)) {
      const row = document.createElement("div");
      row.className = "json-row";
      row.append(text("json-key", `${key}: `), jsonTree(child, depth + 1));
      details.append(row);
    }
    if (entries.length > MOST_CHILDREN) details.append(text("json-row json-more", `and ${entries.length - MOST_CHILDREN} more`));
  };
  details.addEventListener("toggle", fill); // what is closed is not built
  fill();
  return details;
}

function leaf(value: unknown): HTMLElement {
  const kind = value === null ? "null" : typeof value;
  return text(`json-leaf json-${kind}`, JSON.stringify(value) ?? String(value));
}

function text(className: string, content: string): HTMLElement {
  const element = document.createElement("span");
  element.className = className;
  element.textContent = content;
  return element;
}
