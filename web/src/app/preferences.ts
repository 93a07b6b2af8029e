import { Store } from "./store.ts";

export type Theme = "system" | "light" | "dark";

/** What somebody has chosen in this browser. */
export interface Preferences {
  theme: Theme;
  sound: boolean;
  notices: boolean;
  logLevel: "all" | "warning" | "error";
  logFollow: boolean;
  logWrap: boolean;
}

const KEY = "poststream.preferences";
const DEFAULTS: Preferences = {
  theme: "system", sound: false, notices: false, logLevel: "all", logFollow: true, logWrap: true,
};

function read(): Preferences {
  try {
    return { ...DEFAULTS, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>) };
  } catch {
    return DEFAULTS;
  }
}

export const preferences = new Store<Preferences>(read());

/** Choose; kept for the next visit. */
export function prefer(change: Partial<Preferences>): void {
  const chosen = { ...preferences.get(), ...change };
  preferences.set(chosen);
  localStorage.setItem(KEY, JSON.stringify(chosen));
  applyTheme(chosen.theme);
}

/** Show a theme; `system` follows the system, also while it changes. */
export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

addEventListener("storage", (event) => {
  if (event.key !== KEY) return;
  preferences.set(read());
  applyTheme(preferences.get().theme);
});
