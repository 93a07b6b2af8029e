import type { Problem } from "./problem.ts";

/** Milliseconds before each of the five tries to attach again. */
export const BACK_OFF = [1000, 2000, 4000, 8000, 10_000] as const;
export const TRIES = BACK_OFF.length;

/**
 * The state of the page's connection to a task; never that of the task itself.
 *
 * `connecting` and `waiting` count the tries, from 1 once a connection was lost; `lost` has used them up; `signed-out` waits for a token; `released` has
 * given its connection back while nobody looks; `ended` has read everything; `refused` cannot be
 * mended by asking again.
 */
export type Link =
  | { state: "idle" }
  | { state: "connecting"; attempt: number }
  | { state: "live" }
  | { state: "waiting"; attempt: number; until: number }
  | { state: "lost" }
  | { state: "signed-out" }
  | { state: "released" }
  | { state: "ended" }
  | { state: "refused"; problem: Problem };

/** How long to wait before try `attempt` (1 to 5), unless the server names a time. */
export function waitBefore(attempt: number, retryAfter?: number): number {
  return retryAfter ?? BACK_OFF[Math.min(attempt, TRIES) - 1] ?? BACK_OFF[0];
}
