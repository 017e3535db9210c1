// What an empty conversation shows: an invitation, and three messages that work as they stand, without any model.

import { h } from "./dom.js";
import { mark } from "./icons.js";

interface Example {
  title: string;
  detail: string;
  message: string;
}

const TABLE: Example = {
  title: "A table",
  detail: "pandas, straight to HTML",
  message: `\`\`\`python
import pandas as pd

planets = pd.DataFrame({
    "planet": ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"],
    "radius_km": [2440, 6052, 6371, 3390, 69911, 58232, 25362, 24622],
    "moons": [0, 0, 1, 2, 95, 146, 28, 16],
    "day_hours": [1407.6, 5832.5, 23.9, 24.6, 9.9, 10.7, 17.2, 16.1],
})
planets.sort_values("radius_km", ascending=False).reset_index(drop=True)
\`\`\``,
};

const PLOT: Example = {
  title: "A plot",
  detail: "matplotlib, as a picture",
  message: `\`\`\`python
import numpy as np
import matplotlib.pyplot as plt

t = np.linspace(0, 12 * np.pi, 4000)
r = np.exp(np.sin(t)) - 2 * np.cos(4 * t) + np.sin((2 * t - np.pi) / 24) ** 5
fig, ax = plt.subplots(subplot_kw={"projection": "polar"}, figsize=(6, 6))
ax.scatter(t, r, c=t, s=3, cmap="plasma")
ax.set_axis_off()
plt.show()
\`\`\``,
};

const SHELL: Example = {
  title: "A shell",
  detail: "bash, in the same workspace",
  message: "```bash\nuname -sr && python --version\nprintf 'city,temp\\nOslo,4\\nLima,19\\nCairo,28\\n' > cities.csv\ncolumn -s, -t cities.csv || cat cities.csv\n```",
};

const STANDARD: Example = {
  title: "A little maths",
  detail: "only the standard library",
  message: "```python\nfrom fractions import Fraction\nfrom statistics import mean, stdev\n\nsample = [2.1, 2.5, 1.9, 2.8, 2.4]\nprint(f\"mean {mean(sample):.3f}, stdev {stdev(sample):.3f}\")\nsum(Fraction(1, n) for n in range(1, 11))\n```",
};

const RICH: Example = {
  title: "Any object",
  detail: "shown as the kernel shows it",
  message: "```python\nimport json, platform, sys\n\nprint(json.dumps({\"python\": sys.version.split()[0], \"machine\": platform.machine()}, indent=2))\n{name: len(name) for name in sorted(sys.builtin_module_names)[:8]}\n```",
};

// A template without the data packages gets examples that need none.
export function examplesFor(template: string): Example[] {
  return template.includes("minimal") ? [STANDARD, RICH, SHELL] : [TABLE, PLOT, SHELL];
}

export function welcome(template: string, agent: boolean, use: (message: string) => void): HTMLElement {
  const cards = examplesFor(template).map((example) =>
    h("button", { type: "button", class: "example", onclick: () => use(example.message) },
      h("strong", {}, example.title), h("span", {}, example.detail)));
  return h("section", { class: "welcome" }, mark(),
    h("h1", {}, "A notebook you can talk to"),
    h("p", {}, agent
      ? "Ask in your own words. The agent works in a live Python kernel of your own, and every step becomes a notebook cell that you can keep."
      : "Write Python or bash. It runs in a live kernel of your own, and every step becomes a notebook cell that you can keep."),
    h("div", { class: "examples" }, ...cards));
}
