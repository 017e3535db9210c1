// Markdown with maths and highlighted code, to a safe fragment. Maths is taken out before marked sees it (it eats
// backslashes) and KaTeX's elements are put in after the sanitiser, as nodes in text, never as HTML in a string.

import { Marked } from "marked";
import { highlight } from "./highlight.js";
import { maths } from "./maths.js";
import { sanitise } from "./sanitise.js";

interface Formula {
  raw: string;
  tex: string;
  display: boolean;
}

// Code first, so that a dollar in it stays a dollar. A lone $5 is money: no space inside, no digit behind.
const PIECES = new RegExp(
  [
    /(?<code>^ {0,3}(?<fence>`{3,}|~{3,})[\s\S]*?(?:^ {0,3}\k<fence>[`~]*[ \t]*$|$(?![\s\S]))|(?<ticks>`+)(?!`)[\s\S]*?(?<!`)\k<ticks>(?!`))/,
    /\$\$(?<dollars>[\s\S]+?)\$\$/,
    /\\\[(?<square>[\s\S]+?)\\\]/,
    /\\\((?<round>[\s\S]+?)\\\)/,
    /(?<environment>\\begin\{(?<which>(?:equation|align|gather|multline|alignat)\*?)\}[\s\S]+?\\end\{\k<which>\})/,
    /(?<![\\$\w])\$(?<inline>(?![\s$])(?:\\.|[^$\\\n])+?(?<![\s\\]))\$(?![\d$])/,
  ].map((piece) => piece.source).join("|"),
  "gm",
);
const TOKEN = /\uE000(\d+)\uE001/;

const marked = new Marked({ gfm: true, breaks: false });
const markedWithBreaks = new Marked({ gfm: true, breaks: true });

// `breaks`: a newline is a line break, as people expect of what they typed.
export function markdown(source: string, breaks = false): DocumentFragment {
  const formulas: Formula[] = [];
  const prepared = source.replace(/[\uE000\uE001]/g, "").replace(PIECES, (raw: string, ...rest: unknown[]) => {
    const groups = rest.at(-1) as Record<string, string | undefined>;
    if (groups["code"] !== undefined) return raw;
    const tex = groups["dollars"] ?? groups["square"] ?? groups["environment"] ?? groups["round"] ?? groups["inline"] ?? "";
    const display = groups["round"] === undefined && groups["inline"] === undefined;
    formulas.push({ raw, tex, display });
    return `\uE000${formulas.length - 1}\uE001`;
  });
  const fragment = sanitise((breaks ? markedWithBreaks : marked).parse(prepared, { async: false }));
  for (const element of fragment.querySelectorAll("*")) {
    for (const attribute of [...element.attributes]) if (TOKEN.test(attribute.value)) element.removeAttribute(attribute.name);
  }
  placeFormulas(fragment, formulas);
  for (const code of fragment.querySelectorAll("pre > code")) highlightBlock(code);
  for (const table of fragment.querySelectorAll("table")) wrap(table);
  return fragment;
}

function placeFormulas(fragment: DocumentFragment, formulas: Formula[]): void {
  const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
  const texts: Text[] = [];
  while (walker.nextNode()) if (TOKEN.test(walker.currentNode.nodeValue ?? "")) texts.push(walker.currentNode as Text);
  for (const text of texts) {
    const inCode = text.parentElement?.closest("code, pre") != null;
    const parts: (Node | string)[] = (text.nodeValue ?? "").split(/(\uE000\d+\uE001)/).map((part) => {
      const formula = formulas[Number(TOKEN.exec(part)?.[1] ?? NaN)];
      if (formula === undefined) return part;
      return inCode ? formula.raw : maths(formula.tex, formula.display);
    });
    text.replaceWith(...parts);
  }
}

function highlightBlock(code: Element): void {
  const language = [...code.classList].find((name) => name.startsWith("language-"))?.slice("language-".length) ?? "";
  code.replaceChildren(highlight(code.textContent ?? "", language));
}

function wrap(table: Element): void {
  const scroller = document.createElement("div");
  scroller.className = "table-scroll";
  table.replaceWith(scroller);
  scroller.append(table);
}
