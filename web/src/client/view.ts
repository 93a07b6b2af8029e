import type { AgentSnapshot, Snapshot } from "./snapshot.ts";
import {
  type AgentStatus, type ArtifactInfo, END_STATES, type ExecutionMode, type Question, type TaskStatus, type Usage,
} from "./wire.ts";

/** A line of an agent's log. */
export interface LogLine {
  /** Its number in the task's log; also its name. */
  seq: number;
  /** Milliseconds since 1970, server time. */
  at: number;
  level: "info" | "success" | "warning" | "error" | "thought";
  text: string;
}

/** One attempt of an agent on the time line. */
export interface Span {
  attempt: number;
  startedAt: number;
  endedAt?: number;
  status: AgentStatus;
}

/** An agent as its card shows it. Times are milliseconds, server time. */
export interface AgentView {
  role: string;
  name: string;
  description: string;
  status: AgentStatus;
  attempt: number;
  startedAt?: number;
  endedAt?: number;
  executionTime?: number;
  message?: string;
  /** 0 to 1; absent when the agent does not tell. */
  progress?: number;
  etaSeconds?: number;
  /** When `etaSeconds` was told. */
  etaAt?: number;
  itemsDone?: number;
  itemsTotal?: number;
  itemsFailed?: number;
  content: string;
  output?: unknown;
  outputTruncated?: boolean;
  error?: string;
  code?: string;
  /** It failed, and is about to be tried again. */
  willRetry?: boolean;
  artifacts: readonly ArtifactInfo[];
  question?: Question;
  usage?: Usage;
  log: readonly LogLine[];
  spans: readonly Span[];
}

/** A task as the viewer shows it, folded from its log up to `seq`. */
export interface TaskView {
  taskId: string;
  title: string;
  description: string;
  mode: ExecutionMode;
  status: TaskStatus;
  /** Number of the last event that is folded in; 0 for none. */
  seq: number;
  createdAt?: number;
  startedAt?: number;
  endedAt?: number;
  totalExecutionTime?: number;
  estimatedSeconds?: number;
  error?: string;
  code?: string;
  requestedBy?: string;
  notStopped?: readonly string[];
  failedAgents?: readonly string[];
  usage?: Usage;
  /** Why it is in a status that is no end, e.g. `recovered`. */
  reason?: string;
  agents: readonly AgentView[];
}

export const EMPTY: TaskView = {
  taskId: "", title: "", description: "", mode: "sequential", status: "queued", seq: 0, agents: [],
};

/** Whether a status is the end of a task (until somebody retries it). */
export function isEnd(status: TaskStatus): boolean {
  return (END_STATES as readonly string[]).includes(status);
}

/** How far a task is, 0 to 1: the mean of its agents. */
export function progressOf(view: TaskView): number {
  if (view.agents.length === 0) return view.status === "completed" ? 1 : 0;
  const sum = view.agents.reduce((total, agent) => total + (agent.status === "completed" ? 1 : (agent.progress ?? 0)), 0);
  return sum / view.agents.length;
}

/** A view of what a snapshot tells; its log and earlier attempts are not known. */
export function fromSnapshot(snapshot: Snapshot): TaskView {
  return {
    taskId: snapshot.taskId,
    title: snapshot.title,
    description: snapshot.description,
    mode: snapshot.executionMode,
    status: snapshot.status,
    seq: snapshot.lastEventId,
    createdAt: time(snapshot.createdAt),
    startedAt: time(snapshot.startedAt),
    endedAt: time(snapshot.endedAt),
    totalExecutionTime: snapshot.totalExecutionTime,
    error: snapshot.error,
    code: snapshot.code,
    usage: snapshot.usage,
    agents: snapshot.agents.map(agentFromSnapshot),
  };
}

/** A folded view, corrected by a snapshot of the same moment or later: it knows who was skipped. */
export function corrected(view: TaskView, snapshot: Snapshot): TaskView {
  const named = { ...view, title: snapshot.title, description: snapshot.description };
  if (snapshot.lastEventId !== view.seq) return named;
  const told = new Map(snapshot.agents.map((agent) => [agent.agentRole, agent]));
  return {
    ...named,
    status: snapshot.status,
    startedAt: time(snapshot.startedAt) ?? view.startedAt,
    agents: view.agents.map((agent) => {
      const other = told.get(agent.role);
      if (other === undefined) return agent;
      return { ...agent, status: other.status, output: agent.outputTruncated ? other.output : agent.output };
    }),
  };
}

function agentFromSnapshot(agent: AgentSnapshot): AgentView {
  const startedAt = time(agent.startedAt);
  const endedAt = time(agent.endedAt);
  return {
    role: agent.agentRole,
    name: agent.agentName,
    description: agent.agentDescription,
    status: agent.status,
    attempt: agent.attempt,
    startedAt,
    endedAt,
    executionTime: agent.executionTime,
    message: agent.message,
    progress: agent.progress,
    content: agent.content ?? "",
    output: agent.output,
    error: agent.error,
    code: agent.code,
    artifacts: agent.artifacts ?? [],
    usage: agent.usage,
    log: [],
    spans: startedAt === undefined ? [] : [{ attempt: agent.attempt, startedAt, endedAt, status: agent.status }],
  };
}

/** Milliseconds since 1970 of a time on the wire. */
export function time(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Date.parse(text);
}
