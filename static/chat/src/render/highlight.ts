// Source code to coloured spans. highlight.js escapes the source itself, so its HTML is safe as it is.

import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";

hljs.registerLanguage("python", python);
hljs.registerLanguage("bash", bash);
hljs.registerLanguage("json", json);

const LONGEST = 200_000; // beyond this colour is not worth the wait

export function highlight(source: string, language: string): DocumentFragment {
  const template = document.createElement("template");
  if (source.length <= LONGEST && hljs.getLanguage(language)) {
    template.innerHTML = hljs.highlight(source, { language, ignoreIllegals: true }).value;
  } else {
    template.content.append(source);
  }
  return template.content;
}
