// A MIME bundle to an element: the richest type that can be shown safely, the next one where that comes out empty.
// Scripts, widgets and JavaScript output are never run; their text/plain stands in. Pictures are <img>, SVG too, so
// that nothing inside them runs. Above: view/output_view. Below: sanitise, markdown, maths, json_tree.

import { textOf } from "../core/outputs.js";
import type { MimeBundle } from "../core/wire.js";
import { jsonTree } from "./json_tree.js";
import { markdown } from "./markdown.js";
import { latex } from "./maths.js";
import { sanitise } from "./sanitise.js";

type Show = (value: unknown, bundle: MimeBundle, metadata: Record<string, unknown>) => HTMLElement | null;

const TYPES: [string, Show][] = [
  ["text/html", html],
  ["text/markdown", (value) => box("out-markdown", markdown(textOf(value)))],
  ["image/svg+xml", svg],
  ["image/png", picture("image/png")],
  ["image/jpeg", picture("image/jpeg")],
  ["image/gif", picture("image/gif")],
  ["image/webp", picture("image/webp")],
  ["text/latex", (value) => box("out-latex", latex(textOf(value)))],
  ["application/json", (value) => box("out-json", jsonTree(value))],
];

// null: nothing but text/plain is left to show.
export function rich(bundle: MimeBundle, metadata: Record<string, unknown>): HTMLElement | null {
  for (const [type, show] of TYPES) {
    if (!(type in bundle)) continue;
    const element = show(bundle[type], bundle, metadata);
    if (element !== null) return element;
  }
  return null;
}

function box(className: string, content: Node): HTMLElement {
  const element = document.createElement("div");
  element.className = className;
  element.append(content);
  return element;
}

function html(value: unknown): HTMLElement | null {
  const fragment = sanitise(textOf(value));
  const said = (fragment.textContent ?? "").trim() !== "" || fragment.querySelector("img, hr, table") !== null;
  return said ? box("out-html", fragment) : null; // it was a script, a widget, a style sheet
}

function picture(type: string): Show {
  return (value, bundle, metadata) => {
    const base64 = textOf(value).replace(/\s/g, "");
    return /^[A-Za-z0-9+/]+=*$/.test(base64) ? image(`data:${type};base64,${base64}`, bundle, metadata[type]) : null;
  };
}

function svg(value: unknown, bundle: MimeBundle, metadata: Record<string, unknown>): HTMLElement | null {
  const source = textOf(value);
  if (!source.includes("<svg")) return null;
  const named = source.includes("xmlns=") ? source : source.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"');
  return image(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(named)}`, bundle, metadata["image/svg+xml"]);
}

function image(source: string, bundle: MimeBundle, size: unknown): HTMLElement {
  const picture = document.createElement("img");
  picture.src = source;
  const described = textOf(bundle["text/plain"]).replace(/^<|>$/g, "");
  picture.alt = described === "" ? "Picture" : described;
  const { width, height } = (size ?? {}) as { width?: unknown; height?: unknown };
  if (typeof width === "number") picture.width = width;
  if (typeof height === "number" && typeof width !== "number") picture.height = height;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "out-picture";
  button.setAttribute("aria-label", `Enlarge: ${picture.alt}`);
  button.append(picture);
  return button;
}
