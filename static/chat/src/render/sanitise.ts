// Makes untrusted HTML (outputs, what a model wrote) safe to put into the page, as a fragment.
//
// What it blocks: scripts and handlers; anything that asks for input (form, input, button) or loads a page
// (iframe, object); <style>, ids, names and our own class names, with which an output could dress up as the page;
// pictures from anywhere but the output itself; links that are not http, https or mailto. Inline style is cut
// down to colours and text, because Rich and pandas say what matters with it.
// What it does not block: text that lies. The page's CSP stands behind all of this. `metadata.trusted` is never read.

import DOMPurify from "dompurify";

const STYLE_PROPERTIES = [
  "color", "background-color", "font-weight", "font-style", "text-decoration-line", "text-align", "white-space",
];
const CLASS_NAMES = /^(?:dataframe|sk-[\w-]+|language-[\w+-]+)$/;
const LINKS = /^(?:https?:|mailto:)/i;
const PICTURES = /^data:image\/(?:png|jpeg|gif|webp|svg\+xml|bmp|avif)[;,]/i;

const OPTIONS = {
  USE_PROFILES: { html: true }, // no inline SVG or MathML: SVG is shown as a picture, maths is KaTeX's
  FORBID_TAGS: [
    "form", "input", "button", "select", "textarea", "option", "label", "fieldset", "iframe", "object", "embed", "style", "link",
    "meta", "base", "dialog", "audio", "video", "source", "track", "map", "area", "template", "slot",
  ],
  FORBID_ATTR: ["id", "name", "for", "form", "action", "formaction", "srcset", "ping", "background", "usemap", "tabindex", "contenteditable", "popover", "popovertarget", "accesskey", "autofocus"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true as const,
};

const purifier = DOMPurify(window);
purifier.addHook("uponSanitizeAttribute", (_element, data) => {
  if (data.attrName === "style") data.attrValue = safeStyle(data.attrValue);
  else if (data.attrName === "class") data.attrValue = data.attrValue.split(/\s+/).filter((name) => CLASS_NAMES.test(name)).join(" ");
  else if (data.attrName === "href") data.keepAttr = LINKS.test(data.attrValue.trim());
  else if (data.attrName === "src") data.keepAttr = PICTURES.test(data.attrValue.trim());
  if (data.attrValue === "" && (data.attrName === "style" || data.attrName === "class")) data.keepAttr = false;
});
purifier.addHook("afterSanitizeAttributes", (element) => {
  if (element.tagName === "A" && element.hasAttribute("href")) {
    element.setAttribute("target", "_blank");
    element.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (element.tagName === "IMG") element.setAttribute("loading", "lazy");
});

export function sanitise(html: string): DocumentFragment {
  return purifier.sanitize(html, OPTIONS);
}

const probe = document.createElement("span");

function safeStyle(value: string): string {
  probe.style.cssText = value; // never in the document: parsed, not applied
  const kept: string[] = [];
  for (const property of STYLE_PROPERTIES) {
    const set = probe.style.getPropertyValue(property);
    if (set !== "" && !/[(](?!\s*[\d.])/.test(set)) kept.push(`${property}: ${set}`); // rgb(1, 2, 3) yes, url(x) and var(--x) no
  }
  probe.style.cssText = "";
  return kept.join("; ");
}
