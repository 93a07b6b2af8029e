import type { AgentView, LogLine, Span, TaskView } from "./view.ts";
import type {
  AgentComplete, AgentFailed, AgentInfo, AgentProgress, AgentStart, TaskCreated, TaskEvent, TaskFailed, TaskState,
} from "./wire.ts";

/** Lines of one agent's log that are kept for reading; the export has all of them. */
export const MAX_LINES = 5000;

/**
 * Folds events into a view; the view that was given stays as it is.
 *
 * Events come in the order of the log. Those that are folded in already are dropped, and types nobody
 * knows yet only move the number on. Many at once cost little more than one: every agent and log is
 * copied once.
 */
export function reduce(view: TaskView, events: readonly TaskEvent[]): TaskView {
  const draft = new Draft(view);
  for (const event of events) if (event.seq > draft.view.seq) draft.fold(event);
  return draft.view.seq === view.seq ? view : draft.finish();
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type AgentDraft = Mutable<Omit<AgentView, "log" | "spans" | "artifacts">> & {
  log: LogLine[];
  spans: Span[];
  artifacts: AgentView["artifacts"];
};

/** A copy of a view while events are folded in. */
class Draft {
  readonly view: Mutable<TaskView>;
  readonly #copies = new Map<string, AgentDraft>();

  constructor(view: TaskView) {
    this.view = { ...view };
  }

  finish(): TaskView {
    if (this.#copies.size > 0) {
      for (const copy of this.#copies.values()) if (copy.log.length > MAX_LINES) copy.log.splice(0, copy.log.length - MAX_LINES);
      this.view.agents = this.view.agents.map((agent) => this.#copies.get(agent.role) ?? agent);
    }
    return this.view;
  }

  fold(event: TaskEvent): void {
    const at = Date.parse(event.timestamp);
    this.view.seq = event.seq;
    switch (event.type) {
      case "task_created":
        return this.#created(event, at);
      case "agent_start":
        return this.#started(event, at);
      case "agent_progress":
        return this.#progressed(event, at);
      case "agent_complete":
        return this.#delivered(event, at);
      case "agent_error":
        return this.#failed(event, at);
      case "task_state":
        return this.#moved(event, at);
      case "task_complete":
        this.view.totalExecutionTime = event.totalExecutionTime;
        this.view.failedAgents = event.failedAgents;
        this.view.usage = event.usage;
        return this.#ended("completed", at);
      case "task_error":
        return this.#broke(event, at);
    }
  }

  #created(event: TaskCreated, at: number): void {
    Object.assign(this.view, {
      taskId: event.taskId, title: event.title, mode: event.executionMode, createdAt: at,
      status: "queued", estimatedSeconds: event.estimatedSeconds,
    });
    this.#copies.clear();
    this.view.agents = event.agents.map(pending);
  }

  #started(event: AgentStart, at: number): void {
    if (this.view.status === "queued") this.view.status = "running";
    this.view.startedAt ??= at;
    this.view.reason = undefined;
    const agent = this.#agent(event.agentRole);
    Object.assign(agent, {
      ...pending(event), status: "running", attempt: event.attempt, startedAt: at,
      log: agent.log, spans: agent.spans, artifacts: agent.artifacts,
    });
    agent.spans.push({ attempt: event.attempt, startedAt: at, status: "running" });
    agent.log.push(line(event, at, "info", event.attempt > 1 ? `Attempt ${event.attempt} started` : "Started"));
  }

  #progressed(event: AgentProgress, at: number): void {
    const agent = this.#agent(event.agentRole);
    if (event.message !== undefined) {
      agent.message = event.message;
      agent.log.push(line(event, at, "info", event.message));
    }
    if (event.content !== undefined) agent.content += event.content;
    if (event.reasoning !== undefined) think(agent.log, event, at, event.reasoning);
    if (event.progress !== undefined) agent.progress = event.progress;
    if (event.itemsDone !== undefined) agent.itemsDone = event.itemsDone;
    if (event.itemsTotal !== undefined) agent.itemsTotal = event.itemsTotal;
    if (event.itemsFailed !== undefined) agent.itemsFailed = event.itemsFailed;
    if (event.etaSeconds !== undefined) [agent.etaSeconds, agent.etaAt] = [event.etaSeconds, at];
    if (event.tool !== undefined) {
      const level = event.tool.state === "failed" ? "warning" : "info";
      agent.log.push(line(event, at, level, `Tool ${event.tool.name} ${event.tool.state}`));
    }
    if (event.question !== undefined) {
      agent.question = event.question;
      agent.log.push(line(event, at, "warning", `Asks: ${event.question.text}`));
    }
    if (event.artifact !== undefined) {
      const saved = event.artifact;
      agent.artifacts = [...agent.artifacts.filter((other) => other.name !== saved.name), saved];
      agent.log.push(line(event, at, "info", `Saved ${saved.name}`));
    }
  }

  #delivered(event: AgentComplete, at: number): void {
    const agent = this.#agent(event.agentRole);
    Object.assign(agent, {
      status: "completed", endedAt: at, executionTime: event.executionTime, progress: 1,
      artifacts: event.artifacts, output: event.output, outputTruncated: event.outputTruncated,
      usage: event.usage, question: undefined, etaSeconds: undefined, message: undefined,
    });
    close(agent.spans, at, "completed");
    agent.log.push(line(event, at, "success", "Completed"));
  }

  #failed(event: AgentFailed, at: number): void {
    const agent = this.#agent(event.agentRole);
    const status = event.status === "cancelled" ? "cancelled" : "error";
    Object.assign(agent, {
      status: event.willRetry ? "pending" : status, endedAt: at, executionTime: event.executionTime,
      error: event.error, code: event.code, willRetry: event.willRetry, question: undefined,
      etaSeconds: undefined, message: undefined,
    });
    close(agent.spans, at, status);
    const level = status === "error" ? "error" : "warning";
    agent.log.push(line(event, at, level, `${event.error}${event.willRetry ? " (will be tried again)" : ""}`));
  }

  #moved(event: TaskState, at: number): void {
    this.view.status = event.state;
    this.view.reason = event.reason;
    this.view.requestedBy = event.requestedBy;
    if (event.reason === "retry") this.#reopened(event.done ?? []);
    for (const agent of this.view.agents) {
      if (event.reason === "question" && this.#read(agent.role).question !== undefined) this.#agent(agent.role).status = "waiting";
      if (event.reason === "answer" && this.#read(agent.role).status === "waiting") {
        Object.assign(this.#agent(agent.role), { status: "running", question: undefined });
      }
      const { status } = this.#read(agent.role);
      if (status !== "running" && status !== "waiting") continue;
      this.#agent(agent.role).log.push(line(event, at, "info", `Task ${event.state} (${event.reason.replace("_", " ")})`));
    }
  }

  /** A retry: what was delivered stays, all others wait for their next attempt. */
  #reopened(done: readonly string[]): void {
    for (const key of ["endedAt", "error", "code", "failedAgents", "notStopped", "totalExecutionTime"] as const) {
      delete this.view[key];
    }
    for (const { role } of this.view.agents) {
      if (done.includes(role) || this.#read(role).status === "completed") continue;
      Object.assign(this.#agent(role), { status: "pending", error: undefined, code: undefined, progress: undefined, endedAt: undefined });
    }
  }

  #broke(event: TaskFailed, at: number): void {
    Object.assign(this.view, {
      error: event.error, code: event.code, requestedBy: event.requestedBy, notStopped: event.notStopped,
      totalExecutionTime: event.totalExecutionTime,
    });
    this.#ended(event.status, at);
  }

  #ended(status: TaskView["status"], at: number): void {
    this.view.status = status;
    this.view.endedAt = at;
    this.view.reason = undefined;
    for (const { role } of this.view.agents) {
      if (this.#read(role).status === "pending") this.#agent(role).status = "skipped";
    }
  }

  #read(role: string): AgentView {
    return this.#copies.get(role) ?? this.#agent(role);
  }

  /** The copy of an agent; one that nobody has named before is added. */
  #agent(role: string): AgentDraft {
    let copy = this.#copies.get(role);
    if (copy === undefined) {
      let agent = this.view.agents.find((other) => other.role === role);
      if (agent === undefined) {
        agent = pending({ agentRole: role, agentName: role, agentDescription: "" });
        this.view.agents = [...this.view.agents, agent];
      }
      copy = { ...agent, log: [...agent.log], spans: agent.spans.map((span) => ({ ...span })) };
      this.#copies.set(role, copy);
    }
    return copy;
  }
}

function pending(info: AgentInfo): AgentView {
  return {
    role: info.agentRole, name: info.agentName, description: info.agentDescription, status: "pending", attempt: 0,
    startedAt: undefined, endedAt: undefined, executionTime: undefined, message: undefined, progress: undefined,
    etaSeconds: undefined, etaAt: undefined, itemsDone: undefined, itemsTotal: undefined, itemsFailed: undefined,
    content: "", output: undefined, outputTruncated: undefined, error: undefined, code: undefined,
    willRetry: undefined, question: undefined, usage: undefined, artifacts: [], log: [], spans: [],
  };
}

function line(event: TaskEvent, at: number, level: LogLine["level"], text: string): LogLine {
  return { seq: event.seq, at, level, text };
}

/** Pieces of a thought are one line until something else is said. */
function think(log: LogLine[], event: TaskEvent, at: number, piece: string): void {
  const last = log.at(-1);
  if (last?.level === "thought" && last.text.length < 10_000) log[log.length - 1] = { ...last, text: last.text + piece };
  else log.push(line(event, at, "thought", piece));
}

function close(spans: Span[], at: number, status: Span["status"]): void {
  const last = spans.at(-1);
  if (last !== undefined && last.endedAt === undefined) Object.assign(last, { endedAt: at, status });
}
