// The page's keys. Nothing fires while a dialog is open; `?` only outside of fields.

export interface ShortcutActions {
  terminals(): void;
  newSandbox(): void;
  stop(): void;
  focusMessage(): void;
  help(): void;
}

export function listenForShortcuts(actions: ShortcutActions): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const command = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    const writing = event.target instanceof HTMLTextAreaElement || event.target instanceof HTMLInputElement;
    if (command && event.key.toLowerCase() === "k") actions.newSandbox();
    else if (command && event.key === "/") actions.focusMessage();
    else if (isTerminalsKey(event)) actions.terminals();
    else if (event.key === "Escape") actions.stop();
    else if (event.key === "?" && !writing) actions.help();
    else return;
    event.preventDefault();
  });
}

// Where the backtick is on an American keyboard, whatever is printed there.
export function isTerminalsKey(event: KeyboardEvent): boolean {
  return event.ctrlKey && !event.altKey && !event.metaKey && !event.shiftKey && (event.code === "Backquote" || event.key === "`");
}
