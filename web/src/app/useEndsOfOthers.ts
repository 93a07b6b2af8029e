import { useEffect, useRef } from "react";

import type { Snapshot } from "../client/snapshot.ts";
import { gone, tellEnd } from "./notices.ts";
import { useActiveTasks } from "./queries.ts";
import { api, tasks } from "./tasks.ts";

/** Tells when a task ends that runs on while another screen is open. */
export function useEndsOfOthers(): void {
  const { data } = useActiveTasks();
  const before = useRef<readonly Snapshot[]>([]);
  useEffect(() => {
    if (data === undefined) return;
    for (const { taskId } of gone(before.current, data)) {
      if (tasks.follower?.taskId === taskId && tasks.followed?.link.state === "live") continue; // its events tell
      api.snapshot(taskId).then((task) => tellEnd(task, task.lastEventId, false), () => {}); // deleted meanwhile
    }
    before.current = data;
  }, [data]);
}
