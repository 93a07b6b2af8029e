import { useEffect, useSyncExternalStore } from "react";

import { Api } from "../client/api.ts";
import type { Followed } from "../client/follower.ts";
import { TaskStateManager } from "../client/manager.ts";
import { BASE, DEAD_MILLISECONDS } from "./config.ts";
import { expire, session } from "./session.ts";

export const api = new Api({ base: BASE, token: () => session.get().token, onUnauthorized: expire });

/** Once per frame while somebody looks; hidden pages get no frames. */
function schedule(show: () => void): void {
  if (document.visibilityState === "visible") requestAnimationFrame(show);
  else setTimeout(show, 250);
}

/** The one that starts and follows tasks for this page. */
export const tasks = new TaskStateManager(api, { schedule, deadAfter: DEAD_MILLISECONDS, storage: sessionStorage });

/** What is known of the followed task. */
export function useFollowed(): Followed | undefined {
  return useSyncExternalStore(
    (listener) => tasks.on("change", listener),
    () => tasks.followed,
  );
}

let leaving: ReturnType<typeof setTimeout> | undefined;

/**
 * Keeps a task followed while a screen shows it, and lets go when the last such screen is left.
 *
 * Letting go waits for the next turn: between two screens of one task, and between the two mounts of
 * React's strict mode, nothing is cut.
 */
export function useKeepFollowing(taskId: string): void {
  useEffect(() => {
    clearTimeout(leaving);
    return () => {
      leaving = setTimeout(() => {
        if (tasks.follower?.taskId === taskId) tasks.leave();
      });
    };
  }, [taskId]);
}

/** A new token goes on at once; so does a refusal of an older one that came too late. */
function goOn(): void {
  const { token, expired } = session.get();
  if (token !== undefined && !expired && tasks.followed?.link.state === "signed-out") tasks.follower?.wake();
}

session.subscribe(() => {
  if (session.get().token === undefined) tasks.leave();
  else goOn();
});
tasks.on("change", () => queueMicrotask(goOn)); // once the follower waits to be woken
