// Light, dark, or as the system says: a button that goes round the three. theme_early.ts applies the stored choice
// before the page is first painted.

import { h } from "./dom.js";
import { icon, type IconName } from "./icons.js";

const CHOICES: { name: string; icon: IconName; says: string }[] = [
  { name: "auto", icon: "auto", says: "Colours: as the system" },
  { name: "light", icon: "sun", says: "Colours: light" },
  { name: "dark", icon: "moon", says: "Colours: dark" },
];

export const THEME_KEY = "podflare.theme";

export function themeButton(storage: Storage): HTMLButtonElement {
  const button = h("button", { type: "button", class: "quiet icon-button theme" });
  const root = document.documentElement;
  const show = (): void => {
    const choice = CHOICES.find((one) => one.name === root.dataset["theme"]) ?? CHOICES[0];
    if (!choice) return;
    button.replaceChildren(icon(choice.icon));
    button.title = choice.says;
    button.setAttribute("aria-label", `${choice.says}. Change`);
  };
  button.addEventListener("click", () => {
    const at = CHOICES.findIndex((one) => one.name === (root.dataset["theme"] ?? "auto"));
    root.dataset["theme"] = CHOICES[(at + 1) % CHOICES.length]?.name ?? "auto";
    storage.setItem(THEME_KEY, root.dataset["theme"]);
    show();
  });
  show();
  return button;
}
