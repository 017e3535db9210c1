// What an empty conversation shows: an invitation, and three messages that work as they stand, without any model.

import { h } from "./dom.js";
import { mark } from "./icons.js";

interface Example {
  title: string;
  detail: string;
  code: string; // for the direct mode; its first comment becomes the notebook's title
  question: string; // for an agent
}

const TABLE: Example = {
  title: "A table",
  detail: "pandas, straight to HTML",
  question: "Make a table of the planets by size, with their moons and the length of their days.",
  code: `# The planets, by size.
import pandas as pd

planets = pd.DataFrame({
    "planet": ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"],
    "radius_km": [2440, 6052, 6371, 3390, 69911, 58232, 25362, 24622],
    "moons": [0, 0, 1, 2, 95, 146, 28, 16],
    "day_hours": [1407.6, 5832.5, 23.9, 24.6, 9.9, 10.7, 17.2, 16.1],
})
planets.sort_values("radius_km", ascending=False).reset_index(drop=True)`,
};

const PLOT: Example = {
  title: "A plot",
  detail: "matplotlib, as a picture",
  question: "Draw the butterfly curve with matplotlib, coloured along its way, without axes.",
  code: `# The butterfly curve.
import numpy as np
import matplotlib.pyplot as plt

t = np.linspace(0, 12 * np.pi, 6000)
r = np.exp(np.sin(t)) - 2 * np.cos(4 * t) + np.sin((2 * t - np.pi) / 24) ** 5
fig, ax = plt.subplots(subplot_kw={"projection": "polar"}, figsize=(5.5, 5.5))
ax.scatter(t, r, c=t, s=2, cmap="plasma")
ax.set_axis_off()
plt.show()`,
};

const SHELL: Example = {
  title: "A shell",
  detail: "bash, in the same workspace",
  question: "Look around with bash: which system is this, which Python, and what is in the workspace?",
  code: `%%bash
# A shell in the same workspace.
uname -sr && python --version
printf 'city,temp\\nOslo,4\\nLima,19\\nCairo,28\\n' > cities.csv
ls -l
cat cities.csv`,
};

const STANDARD: Example = {
  title: "A little maths",
  detail: "only the standard library",
  question: "What is the tenth harmonic number, as an exact fraction?",
  code: `# The tenth harmonic number, exactly.
from fractions import Fraction

for n in (1, 2, 5):
    print(n, sum(Fraction(1, k) for k in range(1, n + 1)))
sum(Fraction(1, k) for k in range(1, 11))`,
};

const TEXT: Example = {
  title: "A text",
  detail: "counted and sorted",
  question: "Which words does the Zen of Python use most?",
  code: `# The words of the Zen of Python.
import codecs, collections, contextlib, io, re

with contextlib.redirect_stdout(io.StringIO()):
    import this
words = re.findall(r"[a-z']+", codecs.decode(this.s, "rot13").lower())
collections.Counter(words).most_common(8)`,
};

// A template without the data packages gets examples that need none.
export function examplesFor(template: string): Example[] {
  return template.includes("minimal") ? [STANDARD, TEXT, SHELL] : [TABLE, PLOT, SHELL];
}

export function welcome(template: string, agent: boolean, use: (message: string) => void): HTMLElement {
  const cards = examplesFor(template).map((example) =>
    h("button", { type: "button", class: "example", onclick: () => use(agent ? example.question : example.code) },
      h("strong", {}, example.title), h("span", {}, example.detail)));
  return h("section", { class: "welcome" }, mark(),
    h("h1", {}, "A notebook you can talk to"),
    h("p", {}, agent
      ? "Ask in your own words. The agent works in a live Python kernel of your own, and every step becomes a notebook cell that you can keep."
      : "Write Python or bash. It runs in a live kernel of your own, and every step becomes a notebook cell that you can keep."),
    h("div", { class: "examples" }, ...cards));
}
