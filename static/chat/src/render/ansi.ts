// Text with ANSI colours to HTML that is safe: ansi_up escapes the text, links are http(s) only. The sixteen basic
// colours become classes, so that they follow the page's light or dark palette.

import { AnsiUp } from "ansi_up";

export class AnsiPainter {
  private readonly up = new AnsiUp();

  constructor() {
    this.up.use_classes = true;
    this.up.escape_html = true;
    this.up.url_allowlist = { http: 1, https: 1 };
  }

  // Colours in force at the end go on at the next call.
  paint(text: string): DocumentFragment {
    const template = document.createElement("template");
    template.innerHTML = this.up.ansi_to_html(text);
    for (const link of template.content.querySelectorAll("a")) {
      link.target = "_blank";
      link.rel = "noopener noreferrer nofollow";
    }
    return template.content;
  }
}
