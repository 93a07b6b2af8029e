import type { AgentView, TaskView } from "./view.ts";

const SURE_FROM = 0.1; // below a tenth a rate says nothing
const MIN_MILLISECONDS = 3000;

/** Milliseconds an agent still needs; undefined when nobody can know. */
export function agentRemaining(agent: AgentView, now: number): number | undefined {
  if (agent.status !== "running" || agent.startedAt === undefined) return undefined;
  if (agent.etaSeconds !== undefined && agent.etaAt !== undefined) {
    return Math.max(0, agent.etaAt + agent.etaSeconds * 1000 - now);
  }
  return byRate(agent.progress, now - agent.startedAt);
}

/**
 * Milliseconds a task still needs; undefined when nobody can know.
 *
 * The server's own estimate, else what its running agents tell, and for those that follow the mean of
 * those that have delivered. One agent that tells nothing is enough not to know.
 */
export function taskRemaining(view: TaskView, now: number): number | undefined {
  if (view.status !== "running" || view.startedAt === undefined) return undefined;
  const spent = now - view.startedAt;
  if (view.estimatedSeconds !== undefined && view.estimatedSeconds * 1000 > spent) return view.estimatedSeconds * 1000 - spent;
  const running = view.agents.filter((agent) => agent.status === "running").map((agent) => agentRemaining(agent, now));
  if (running.length === 0 || running.includes(undefined)) return undefined;
  const longest = Math.max(...(running as number[]));
  const pending = view.agents.filter((agent) => agent.status === "pending").length;
  if (pending === 0) return longest;
  const times = view.agents.flatMap((agent) => (agent.status === "completed" ? [agent.executionTime ?? 0] : []));
  if (view.mode !== "sequential" || times.length === 0) return undefined;
  return longest + (pending * times.reduce((sum, time) => sum + time, 0)) / times.length;
}

function byRate(progress: number | undefined, spent: number): number | undefined {
  if (progress === undefined || progress < SURE_FROM || progress >= 1 || spent < MIN_MILLISECONDS) return undefined;
  return (spent * (1 - progress)) / progress;
}
