import { plain } from "../components/plain.ts";
import { Store } from "./store.ts";

export interface Toast {
  id: number;
  text: string;
  kind: "info" | "success" | "error";
  /** A screen that shows more. */
  to?: string;
}

export const toasts = new Store<readonly Toast[]>([]);
export const announcement = new Store("");

let last = 0;

/** Say something for some seconds, also to those who listen instead of looking. */
export function toast(text: string, kind: Toast["kind"] = "info", to?: string): void {
  const id = ++last;
  toasts.set([...toasts.get().slice(-3), { id, text: plain(text), kind, to }]);
  setTimeout(() => dismiss(id), kind === "error" ? 10_000 : 5000);
}

/** Take a toast away. */
export function dismiss(id: number): void {
  toasts.set(toasts.get().filter((other) => other.id !== id));
}

/** Tell a change of state to those who listen; said once, without a picture. */
export function announce(text: string): void {
  announcement.set(plain(text));
}
