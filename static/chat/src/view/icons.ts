// The page's few icons, as 20 by 20 strokes, and the mark: two cell brackets that hold a flare.

const PATHS = {
  plus: "M10 4v12M4 10h12",
  chevron: "M6 8l4 4 4-4",
  copy: "M7 7V4.5h8.5V13H13M4.5 7H13v8.5H4.5z",
  check: "M4.5 10.5l3.5 3.5 7.5-8",
  close: "M5 5l10 10M15 5L5 15",
  download: "M10 3.5v9M6.5 9.5L10 13l3.5-3.5M4 16.5h12",
  files: "M3 15.5v-10h4.5l1.7 2H17v8z",
  file: "M5.5 3h6l3.5 3.5V17h-9.5zM11.5 3v3.5H15",
  clip: "M14.5 9l-4.8 4.8a2.9 2.9 0 0 1-4.1-4.1l5.6-5.6a1.9 1.9 0 0 1 2.7 2.7l-5.5 5.5a.9.9 0 0 1-1.3-1.3L12 6",
  send: "M10 16V4.5M5 9.5l5-5 5 5",
  stop: "M6 6h8v8H6z",
  menu: "M3.5 6h13M3.5 10h13M3.5 14h13",
  sun: "M10 6.7a3.3 3.3 0 1 0 0 6.6 3.3 3.3 0 0 0 0-6.6M10 2v2M10 16v2M2 10h2M16 10h2M4.3 4.3l1.5 1.5M14.2 14.2l1.5 1.5M15.7 4.3l-1.5 1.5M5.8 14.2l-1.5 1.5",
  moon: "M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8z",
  auto: "M10 3.5a6.5 6.5 0 1 0 0 13zM10 3.5a6.5 6.5 0 0 1 0 13",
  trash: "M4 6h12M8 6V4h4v2M5.5 6l.8 10.5h7.4L14.5 6M8.5 9v5M11.5 9v5",
  refresh: "M15.5 8.5A6 6 0 1 0 16 11M15.8 4.5v4h-4",
  down: "M10 4v11M5 10.5l5 5 5-5",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7",
  branch: "M6 6.5v7M6 6.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M6 17.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M14 7.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M14 7.5c0 3.5-8 2-8 6",
  merge: "M6 6.5v7M6 6.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M6 17.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M14 15.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4M6 6.5c0 4.5 4 3 6.2 6",
  compare: "M3 4h5.5v12H3zM11.5 4H17v12h-5.5z",
  rewind: "M4.5 8.5A6 6 0 1 1 4 11M4.2 4.5v4h4",
  terminal: "M3 4.5h14v11H3zM6 8l2.5 2L6 12M10.5 12.5H14",
  outside: "M8.5 4.5h-4v11h11v-4M11.5 4h4.5v4.5M16 4l-7 7",
  link: "M8.5 11.5a2.8 2.8 0 0 0 4 0l2.7-2.7a2.8 2.8 0 0 0-4-4L10 6M11.5 8.5a2.8 2.8 0 0 0-4 0l-2.7 2.7a2.8 2.8 0 0 0 4 4L10 14",
  folder: "M3 15.5v-10h4.5l1.7 2H17v8z",
} as const;

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path(PATHS[name]));
  return svg;
}

export function mark(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const flare = path("M12 5.5c.6 4 2.5 5.9 6.5 6.5-4 .6-5.9 2.5-6.5 6.5-.6-4-2.5-5.9-6.5-6.5 4-.6 5.9-2.5 6.5-6.5z");
  flare.setAttribute("class", "mark-flare");
  svg.append(path("M6.5 3H3v18h3.5M17.5 3H21v18h-3.5"), flare);
  return svg;
}

function path(d: string): SVGPathElement {
  const element = document.createElementNS(SVG, "path");
  element.setAttribute("d", d);
  return element;
}
