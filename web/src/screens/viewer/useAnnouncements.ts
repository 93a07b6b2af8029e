import { useEffect, useRef } from "react";

import { announce } from "../../app/announce.ts";
import type { TaskView } from "../../client/view.ts";
import { wordOf } from "../../components/Status.tsx";

/** Tells those who listen when a state changes; never texts and never numbers that run. */
export function useAnnouncements(view: TaskView): void {
  const before = useRef(view);
  useEffect(() => {
    const last = before.current;
    before.current = view;
    if (last === view) return;
    const told: string[] = [];
    for (const agent of view.agents) {
      const old = last.agents.find((other) => other.role === agent.role);
      if (old !== undefined && old.status !== agent.status) told.push(`${agent.name}: ${wordOf(agent.status)}`);
    }
    if (last.status !== view.status) told.push(`Task ${wordOf(view.status).toLowerCase()}`);
    if (told.length > 0) announce(told.slice(-3).join(". "));
  }, [view]);
}
