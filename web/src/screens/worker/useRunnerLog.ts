import { useEffect, useRef, useState } from "react";

import { session } from "../../app/session.ts";
import { api } from "../../app/tasks.ts";
import type { Link } from "../../client/link.ts";
import { type NumberedLine, RunnerFollower } from "../../client/runner.ts";

const HIDDEN_MILLISECONDS = 60_000;

interface RunnerLog {
  lines: readonly NumberedLine[];
  link: Link;
  wake: () => void;
  clear: () => void;
}

/** The worker's log while this screen is open; a hidden tab gives its connection back. */
export function useRunnerLog(): RunnerLog {
  const [, render] = useState(0);
  const follower = useRef<RunnerFollower | undefined>(undefined);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const goOn = () => {
      if (!session.get().expired && follower.current?.link.state === "signed-out") follower.current.wake();
    };
    const open = () => {
      if (follower.current !== undefined) return follower.current.wake();
      const opened = new RunnerFollower(api, () => {
        render((count) => count + 1);
        queueMicrotask(goOn);
      });
      follower.current = opened;
      void opened.run();
    };
    const close = () => {
      follower.current?.close();
      follower.current = undefined;
    };
    const seen = () => {
      clearTimeout(timer);
      if (document.visibilityState === "visible") open();
      else timer = setTimeout(close, HIDDEN_MILLISECONDS);
    };
    open();
    document.addEventListener("visibilitychange", seen);
    addEventListener("online", open);
    const unsubscribe = session.subscribe(goOn);
    return () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
      removeEventListener("online", open);
      unsubscribe();
      close();
    };
  }, []);
  return {
    lines: follower.current?.lines ?? [],
    link: follower.current?.link ?? { state: "idle" },
    wake: () => follower.current?.wake(),
    clear: () => follower.current?.clear(),
  };
}
