// Runs before the first paint, so that a chosen theme does not flash. Kept apart because it must block.
document.documentElement.dataset["theme"] = localStorage.getItem("podflare.theme") ?? "auto";
