import { type AgentView, isEnd, progressOf, type TaskView } from "./view.ts";

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

/** Milliseconds a task still needs; undefined when nobody can know. */
export function taskRemaining(view: TaskView, now: number): number | undefined {
  if (isEnd(view.status) || view.status !== "running" || view.startedAt === undefined) return undefined;
  const spent = now - view.startedAt;
  if (view.estimatedSeconds !== undefined && view.estimatedSeconds * 1000 > spent) return view.estimatedSeconds * 1000 - spent;
  return byRate(progressOf(view), spent);
}

function byRate(progress: number | undefined, spent: number): number | undefined {
  if (progress === undefined || progress < SURE_FROM || progress >= 1 || spent < MIN_MILLISECONDS) return undefined;
  return (spent * (1 - progress)) / progress;
}
