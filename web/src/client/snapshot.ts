import type { AgentInfo, AgentStatus, ArtifactInfo, ExecutionMode, Question, TaskRequest, TaskStatus, Usage } from "./wire.ts";

/** Whether something may be done with a task now, and why not. */
export interface Action {
  allowed: boolean;
  reason?: string;
}

export type ActionName = "cancel" | "pause" | "resume" | "retry" | "answer" | "delete";

/** An agent in a snapshot; in lists without texts. */
export interface AgentSnapshot extends AgentInfo {
  kind?: string;
  status: AgentStatus;
  attempt: number;
  startedAt?: string;
  endedAt?: string;
  /** Milliseconds. */
  executionTime?: number;
  /** 0 to 1. */
  progress?: number;
  message?: string;
  etaSeconds?: number;
  content?: string;
  output?: unknown;
  error?: string;
  code?: string;
  hasArtifacts?: boolean;
  artifacts?: ArtifactInfo[];
  usage?: Usage;
}

/** What a task is now. */
export interface Snapshot {
  taskId: string;
  title: string;
  description: string;
  status: TaskStatus;
  executionMode: ExecutionMode;
  selectedAgents: string[];
  provider?: string;
  inputs?: Record<string, unknown>;
  /** What else was asked for, e.g. `dependsOn`; only in the snapshot of one task. */
  options?: Partial<TaskRequest>;
  /** Whose it is. */
  owner?: string;
  metadata?: Record<string, string>;
  jobType: string;
  triggerSource?: string;
  priority: number;
  progress: number;
  itemsDone: number;
  itemsFailed: number;
  createdAt: string;
  startedAt?: string;
  endedAt?: string;
  /** Milliseconds. */
  activeTime: number;
  queueTime?: number;
  totalExecutionTime?: number;
  stuck: boolean;
  archived: boolean;
  error?: string;
  code?: string;
  usage?: Usage;
  question?: Question & { agentRole?: string };
  lastEventId: number;
  actions: Partial<Record<ActionName, Action>>;
  agents: AgentSnapshot[];
}

/** An agent that can be selected. */
export interface ListedAgent extends AgentInfo {
  kind: string;
  available: boolean;
  unavailableReason?: string;
}

export interface Provider {
  name: string;
  kind: string;
  models: string[];
  available: boolean;
  unavailableReason?: string;
}

/** What can be asked for. */
export interface Team {
  agents: ListedAgent[];
  executionModes: ExecutionMode[];
  providers: Provider[];
}

/** A finished or running job of the history. */
export interface Job extends Omit<Snapshot, "agents" | "actions" | "lastEventId"> {
  agents?: AgentSnapshot[];
  actions?: Snapshot["actions"];
  lastEventId?: number;
  executionSummary?: { status: string; agentsCompleted: number; agentsFailed: number; outputs: number; error?: string };
  phaseResults?: { phaseId: string; status: AgentStatus; attempts: number; executionTime?: number; error?: string }[];
  performanceMetrics?: { queueTime?: number; totalExecutionTime?: number; events: number; usage?: Usage };
  userPreferences?: Record<string, unknown>;
  systemInfo?: Record<string, string>;
}

export interface JobPage {
  jobs: Job[];
  totalCount: number;
  limit: number;
  offset: number;
}

export interface RunnerStatus {
  isRunning: boolean;
  state: "running" | "draining" | "stopped";
  runningTasks: number;
  queuedTasks: number;
  slots: number;
  since?: string;
  lastError?: string;
}

export interface RunnerLine {
  timestamp: string;
  /** 0 is the loop, 1 to N its slots. */
  thread: number;
  message: string;
  type: "info" | "success" | "warning" | "error";
}
