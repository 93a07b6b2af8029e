import { useLayoutEffect, useRef } from "react";
import { useBrowserLocation } from "wouter/use-browser-location";

import { Store } from "./store.ts";

/** A screen that asks before it is left: which addresses still belong to it, and what goes on then. */
interface Guard {
  stays: (path: string) => boolean;
}

/** Somebody wants to leave while a task runs; `go` leaves. */
export const leaving = new Store<{ go: () => void } | undefined>(undefined);

let guard: Guard | undefined;

type Navigate = ReturnType<typeof useBrowserLocation>[1];

/** The router's place in the address bar, with the question before leaving a running task. */
export function useGuardedLocation(): ReturnType<typeof useBrowserLocation> {
  const [path, navigate] = useBrowserLocation();
  const guarded: Navigate = (to, options) => {
    const pathname = String(to).split(/[?#]/)[0] ?? "";
    if (guard === undefined || guard.stays(pathname)) navigate(to, options);
    else leaving.set({ go: () => navigate(to, options) });
  };
  return [path, guarded];
}

/** Ask before this screen is left, as long as `active`. */
export function useLeaveGuard(active: boolean, stays: (path: string) => boolean): void {
  const latest = useRef(stays);
  // With the picture, not after it: nobody sees a running task that can be left unasked.
  useLayoutEffect(() => {
    latest.current = stays;
  });
  useLayoutEffect(() => {
    if (!active) return;
    const mine: Guard = { stays: (path) => latest.current(path) };
    guard = mine;
    const ask = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener("beforeunload", ask);
    const stopBack = watchBack(mine.stays);
    return () => {
      removeEventListener("beforeunload", ask);
      stopBack();
      if (guard === mine) guard = undefined;
    };
  }, [active]);
}

interface Traverse extends Event {
  navigationType: string;
  destination: { url: string; key: string };
}

/** The browser's back button, where the browser lets a page ask. */
function watchBack(stays: (path: string) => boolean): () => void {
  const navigation = (globalThis as { navigation?: EventTarget & { traverseTo(key: string): unknown } }).navigation;
  if (navigation === undefined) return () => {};
  const ask = (event: Event) => {
    const { navigationType, destination } = event as Traverse;
    if (navigationType !== "traverse" || !event.cancelable || stays(new URL(destination.url).pathname)) return;
    event.preventDefault();
    leaving.set({ go: () => void navigation.traverseTo(destination.key) });
  };
  navigation.addEventListener("navigate", ask);
  return () => navigation.removeEventListener("navigate", ask);
}

/** Leave although a task runs. */
export function leaveNow(): void {
  const asked = leaving.get();
  leaving.set(undefined);
  guard = undefined;
  asked?.go();
}
