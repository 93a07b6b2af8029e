import { keepPreviousData, QueryClient, useQuery } from "@tanstack/react-query";
import { useEffect } from "react";

import { Problem } from "../client/problem.ts";
import { isEnd } from "../client/view.ts";
import { POLL_MILLISECONDS } from "./config.ts";
import { api, tasks } from "./tasks.ts";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      // What cannot pass is told at once; the rest is asked for again by the next poll anyway.
      retry: (count, error) => count < 2 && (!(error instanceof Problem) || error.passes),
      refetchOnWindowFocus: "always",
      staleTime: 1000,
    },
  },
});

/** Who can be asked. */
export function useTeam() {
  return useQuery({ queryKey: ["team"], queryFn: api.team, staleTime: 30_000 });
}

/** Unfinished tasks of this user. */
export function useActiveTasks() {
  return useQuery({ queryKey: ["active"], queryFn: api.activeTasks, refetchInterval: POLL_MILLISECONDS });
}

/** A page of the list of tasks. */
export function useTasks(query: Record<string, string | number | undefined>) {
  return useQuery({
    queryKey: ["tasks", query],
    queryFn: () => api.tasks(query),
    refetchInterval: POLL_MILLISECONDS,
    placeholderData: keepPreviousData,
  });
}

/** Figures over some days. */
export function useStatistics(days: number) {
  return useQuery({
    queryKey: ["statistics", days],
    queryFn: () => api.statistics({ days }),
    staleTime: 30_000,
  });
}

/** Whether the server answers and takes tasks. */
export function useServer() {
  return useQuery({ queryKey: ["server"], queryFn: api.isReady, refetchInterval: POLL_MILLISECONDS, retry: false });
}

/** The snapshot of a task; whoever follows it hears of each new one. */
export function useSnapshot(taskId: string) {
  const query = useQuery({
    queryKey: ["task", taskId],
    queryFn: () => api.snapshot(taskId),
    refetchInterval: ({ state }) => (state.data !== undefined && isEnd(state.data.status) ? false : 4 * POLL_MILLISECONDS),
  });
  const snapshot = query.data;
  useEffect(() => {
    if (snapshot !== undefined) tasks.follower?.meet(snapshot);
  }, [snapshot]);
  return query;
}

/** Ask for everything that may have changed. */
export function refresh(taskId?: string): void {
  for (const name of ["active", "tasks", "statistics"]) void queryClient.invalidateQueries({ queryKey: [name] });
  if (taskId !== undefined) void queryClient.invalidateQueries({ queryKey: ["task", taskId] });
}
