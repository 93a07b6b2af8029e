// Made from the Python models by `python -m tests.web.wire_types`; a test fails when it is stale.

/** An attempt delivered. */
export interface AgentComplete {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "agent_complete";
  agentRole: string;
  attempt: number;
  status: "success";
  /** Milliseconds of this attempt. */
  executionTime: number;
  hasArtifacts: boolean;
  artifacts: ArtifactInfo[];
  /** The JSON result, up to 64 KiB. */
  output?: unknown;
  /** True when it was larger. */
  outputTruncated?: boolean;
  usage?: Usage;
}

/** An attempt ended without delivering (`agent_error` on the wire). */
export interface AgentFailed {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "agent_error";
  agentRole: string;
  attempt: number;
  status: "error" | "timeout" | "cancelled";
  /** Milliseconds of this attempt. */
  executionTime: number;
  error: string;
  code: string;
  willRetry: boolean;
}

/** An agent as people see it. */
export interface AgentInfo {
  /** The role, unique in a team; the same word everywhere. */
  agentRole: string;
  /** Display name. */
  agentName: string;
  /** What it does, in a sentence. */
  agentDescription: string;
}

/** What an agent does meanwhile; at least one of the optional fields is there. */
export interface AgentProgress {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "agent_progress";
  agentRole: string;
  attempt: number;
  /** A status line. */
  message?: string;
  progress?: number;
  /** A piece of the output text. */
  content?: string;
  /** A piece, never part of the output. */
  reasoning?: string;
  tool?: ToolCall;
  question?: Question;
  itemsDone?: number;
  itemsTotal?: number;
  itemsFailed?: number;
  etaSeconds?: number;
  artifact?: ArtifactInfo;
}

/** An attempt begins; a new attempt withdraws the text of the earlier one. */
export interface AgentStart {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "agent_start";
  agentRole: string;
  agentName: string;
  agentDescription: string;
  attempt: number;
}

/** A file an agent made, without its content. */
export interface ArtifactInfo {
  name: string;
  mediaType: string;
  /** Bytes. */
  size: number;
}

/** Upper bounds for a whole task; the first that is reached ends it (`budget_exhausted`). */
export interface Budget {
  tokens?: number;
  costUsd?: number;
  seconds?: number;
}

/** A question an agent puts to the task's owner. */
export interface Question {
  questionId: string;
  text: string;
  options?: string[];
}

/** The task delivered; the last event of this submit or retry. */
export interface TaskComplete {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "task_complete";
  /** Milliseconds of active time. */
  totalExecutionTime: number;
  /** How many agents delivered. */
  outputs: number;
  failedAgents: string[];
  usage?: Usage;
}

/** First event of every log. */
export interface TaskCreated {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "task_created";
  title: string;
  selectedAgents: string[];
  executionMode: "sequential" | "parallel" | "graph";
  agents: AgentInfo[];
  estimatedSeconds?: number;
}

/** The task ended without delivering (`task_error` on the wire). */
export interface TaskFailed {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "task_error";
  status: "failed" | "cancelled" | "timed_out";
  error: string;
  code: string;
  /** Milliseconds of active time. */
  totalExecutionTime: number;
  requestedBy?: string;
  /** Agents that run on. */
  notStopped?: string[];
}

/** What a client asks for: the body of every submit route. An absent value and null mean the same. Unknown fields are refused, so that a misspelt option is never silently ignored. */
export interface TaskRequest {
  description: string;
  title?: string;
  selectedAgents: string[];
  executionMode?: "sequential" | "parallel" | "graph";
  provider?: string;
  inputs?: Record<string, unknown>;
  onAgentError?: "stop" | "continue";
  timeoutSeconds?: number;
  maxParallel?: number;
  priority?: number;
  onRestart?: "resume" | "fail";
  dependsOn?: Record<string, string[]>;
  after?: string[];
  budget?: Budget;
  metadata?: Record<string, string>;
  jobType?: "manual" | "scheduled" | "api";
  triggerSource?: string;
}

/** The task moved to a status that is not its end. */
export interface TaskState {
  /** UUID v4 of the task. */
  taskId: string;
  /** Number in the task's log: 1, 2, 3 … */
  seq: number;
  /** When it was made; ISO 8601 UTC with milliseconds. */
  timestamp: string;
  type: "task_state";
  state: "queued" | "running" | "pausing" | "paused" | "waiting" | "cancelling";
  reason: "recovered" | "handed_back" | "retry" | "pause" | "resume" | "question" | "answer" | "cancel" | "worker_stopped";
  requestedBy?: string;
  /** Agents that are finished. */
  done?: string[];
}

/** A tool call of an agent. */
export interface ToolCall {
  callId: string;
  name: string;
  state: "started" | "finished" | "failed";
}

/** What a piece of work consumed. */
export interface Usage {
  inputTokens?: number;
  outputTokens?: number;
  /** US dollars. */
  costUsd?: number;
}

/** Any event of a task's log. */
export type TaskEvent = TaskCreated | AgentStart | AgentProgress | AgentComplete | AgentFailed | TaskComplete | TaskFailed | TaskState;

export const EVENT_TYPES = ["task_created", "agent_start", "agent_progress", "agent_complete", "agent_error", "task_complete", "task_error", "task_state"] as const;
export type EventType = (typeof EVENT_TYPES)[number];

export const TASK_STATUSES = ["queued", "running", "pausing", "paused", "waiting", "cancelling", "completed", "failed", "timed_out", "cancelled"] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

export const END_STATES = ["completed", "failed", "timed_out", "cancelled"] as const;
export type EndState = (typeof END_STATES)[number];

export const AGENT_STATUSES = ["pending", "running", "waiting", "completed", "error", "cancelled", "skipped"] as const;
export type AgentStatus = (typeof AGENT_STATUSES)[number];

export const EXECUTION_MODES = ["sequential", "parallel", "graph"] as const;
export type ExecutionMode = (typeof EXECUTION_MODES)[number];
