// TeX to elements. KaTeX's own output is trusted: `trust: false` keeps links and html commands out of it, and size
// and expansion are bounded, so that hostile TeX costs little.

import katex from "katex";

export function maths(tex: string, display: boolean): HTMLElement {
  const element = document.createElement(display ? "div" : "span");
  element.className = display ? "maths maths-display" : "maths";
  try {
    katex.render(tex, element, { displayMode: display, throwOnError: false, trust: false, maxSize: 20, maxExpand: 500, strict: false });
  } catch {
    element.textContent = tex; // KaTeX gave up on it altogether: the source is the best there is
  }
  return element;
}

// text/latex as kernels send it: with its delimiters, or bare.
export function latex(source: string): HTMLElement {
  const body = source.trim();
  const inner = /^\$\$([\s\S]*)\$\$$/.exec(body) ?? /^\\\[([\s\S]*)\\\]$/.exec(body) ?? /^\$([\s\S]*)\$$/.exec(body) ?? /^\\\(([\s\S]*)\\\)$/.exec(body);
  return maths(inner?.[1] ?? body, true);
}
