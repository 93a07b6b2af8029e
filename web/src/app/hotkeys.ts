import { useLayoutEffect, useRef } from "react";

/** What a key does, by its name: `c`, `[`, `?`. */
export type Hotkeys = Record<string, (() => void) | undefined>;

/** Keys of this screen; they sleep while somebody types or a dialog is open. */
export function useHotkeys(keys: Hotkeys): void {
  const current = useRef(keys);
  useLayoutEffect(() => {
    current.current = keys;
  });
  useLayoutEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.repeat) return;
      if (isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
      const action = current.current[event.key.length === 1 ? event.key.toLowerCase() : event.key];
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** The keyboard map, as the dialog shows it. */
export const KEY_MAP: readonly { where: string; keys: readonly [string, string][] }[] = [
  {
    where: "Everywhere",
    keys: [["?", "this map"], ["g", "dashboard"], ["n", "new task"], ["h", "history"], ["w", "worker"], [",", "settings"]],
  },
  { where: "New task", keys: [["Ctrl Enter", "start"], ["Alt ↑ ↓", "move an agent up or down"]] },
  {
    where: "Task",
    keys: [
      ["p", "pause or resume"], ["c", "cancel"], ["r", "retry what failed"], ["v", "view results"],
      ["j k", "next, previous agent"], ["l", "log of that agent"], ["t", "time line"],
    ],
  },
];
