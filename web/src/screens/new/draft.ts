import type { FieldError } from "../../client/problem.ts";
import type { Snapshot, Team } from "../../client/snapshot.ts";
import type { ExecutionMode, TaskRequest } from "../../client/wire.ts";

/** The form as it is typed; numbers are text until they are sent. */
export interface TaskDraft {
  title: string;
  description: string;
  agents: readonly string[];
  mode: ExecutionMode;
  provider: string;
  inputs: string;
  /** Role → roles that must have delivered; kept also while another mode is chosen. */
  dependsOn: Readonly<Record<string, readonly string[]>>;
  onAgentError: "" | "stop" | "continue";
  timeoutSeconds: string;
  maxParallel: string;
  priority: string;
  onRestart: "" | "resume" | "fail";
  budgetTokens: string;
  budgetCostUsd: string;
  budgetSeconds: string;
  after: string;
  metadata: string;
}

export type Field = keyof TaskDraft;
export type FieldErrors = Partial<Record<Field, string>>;

export const EMPTY_DRAFT: TaskDraft = {
  title: "", description: "", agents: [], mode: "sequential", provider: "", inputs: "", dependsOn: {},
  onAgentError: "", timeoutSeconds: "", maxParallel: "", priority: "", onRestart: "",
  budgetTokens: "", budgetCostUsd: "", budgetSeconds: "", after: "", metadata: "",
};

const KEY = "poststream.draft";

/** What was typed before a reload or a look at another screen. */
export function keptDraft(): TaskDraft {
  try {
    return { ...EMPTY_DRAFT, ...(JSON.parse(sessionStorage.getItem(KEY) ?? "{}") as Partial<TaskDraft>) };
  } catch {
    return EMPTY_DRAFT;
  }
}

export function keepDraft(draft: TaskDraft | undefined): void {
  if (draft === undefined) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, JSON.stringify(draft));
}

/** A task as a draft, for another run like it. */
export function draftOf(request: TaskRequest): TaskDraft {
  const text = (value: unknown) => (value === undefined ? "" : String(value));
  const json = (value: unknown) => (value === undefined ? "" : JSON.stringify(value, null, 2));
  return {
    title: request.title ?? "", description: request.description, agents: request.selectedAgents,
    mode: request.executionMode ?? "sequential", provider: request.provider ?? "", inputs: json(request.inputs),
    dependsOn: request.dependsOn ?? {}, onAgentError: request.onAgentError ?? "",
    timeoutSeconds: text(request.timeoutSeconds), maxParallel: text(request.maxParallel), priority: text(request.priority),
    onRestart: request.onRestart ?? "", budgetTokens: text(request.budget?.tokens), budgetCostUsd: text(request.budget?.costUsd),
    budgetSeconds: text(request.budget?.seconds), after: (request.after ?? []).join("\n"), metadata: json(request.metadata),
  };
}

/** The request that started a task, as its snapshot tells it. */
export function requestOf(task: Snapshot): TaskRequest {
  const first = task.description.trim().split(/\r?\n/)[0]?.trim().slice(0, 80);
  return {
    description: task.description,
    ...(task.title === first ? {} : { title: task.title }),
    selectedAgents: task.selectedAgents,
    executionMode: task.executionMode,
    ...(task.provider === undefined ? {} : { provider: task.provider }),
    ...(task.inputs === undefined ? {} : { inputs: task.inputs }),
    ...(task.priority === 0 ? {} : { priority: task.priority }),
    ...(task.metadata === undefined ? {} : { metadata: task.metadata }),
    ...task.options,
  };
}

/** The body of the request, or what is missing for it. */
export function toRequest(draft: TaskDraft, team: Team): { request?: TaskRequest; errors: FieldErrors } {
  const errors: FieldErrors = {};
  if (draft.description.trim() === "") errors.description = "Say what is to be done.";
  const available = new Map(team.agents.map((agent) => [agent.agentRole, agent.available]));
  const agents = draft.agents.filter((role) => available.get(role));
  if (agents.length === 0) errors.agents = "Select at least one agent.";
  const request: Record<string, unknown> = { description: draft.description, selectedAgents: agents, executionMode: draft.mode };
  const put = (field: Field, name: string, read: (text: string) => unknown) => {
    const text = String(draft[field]).trim();
    if (text === "") return;
    try {
      request[name] = read(text);
    } catch (error) {
      errors[field] = error instanceof Error ? error.message : String(error);
    }
  };
  put("title", "title", String);
  put("provider", "provider", String);
  put("onAgentError", "onAgentError", String);
  put("onRestart", "onRestart", String);
  put("inputs", "inputs", object);
  put("metadata", "metadata", object);
  if (draft.mode === "graph") request.dependsOn = among(draft.dependsOn, agents);
  for (const field of ["timeoutSeconds", "maxParallel", "priority"] as const) put(field, field, number);
  put("after", "after", (text) => text.split(/[\s,]+/));
  const budget = { tokens: "budgetTokens", costUsd: "budgetCostUsd", seconds: "budgetSeconds" } as const;
  for (const [name, field] of Object.entries(budget)) {
    put(field, name, number);
    if (name in request) {
      request.budget = { ...(request.budget as object | undefined), [name]: request[name] };
      delete request[name];
    }
  }
  return Object.keys(errors).length > 0 ? { errors } : { request: request as unknown as TaskRequest, errors };
}

/** Only what is between selected agents, and says anything. */
function among(dependsOn: TaskDraft["dependsOn"], agents: readonly string[]): Record<string, string[]> {
  const kept = Object.entries(dependsOn)
    .filter(([role]) => agents.includes(role))
    .map(([role, others]) => [role, others.filter((other) => agents.includes(other))] as const);
  return Object.fromEntries(kept.filter(([, others]) => others.length > 0).map(([role, others]) => [role, [...others]]));
}

const PLACES: Record<string, Field> = { selectedAgents: "agents", executionMode: "mode" };
const BUDGET: Record<string, Field> = { tokens: "budgetTokens", costUsd: "budgetCostUsd", seconds: "budgetSeconds" };

/** What the server found wrong, by the field it belongs to. */
export function fieldErrors(found: readonly FieldError[], draft: TaskDraft): FieldErrors {
  const errors: FieldErrors = {};
  for (const { pointer, detail } of found) {
    const [, name = "", part = ""] = pointer.split("/");
    const field = name === "budget" ? (BUDGET[part] ?? "budgetTokens") : (PLACES[name] ?? (name as Field));
    const inside = part !== "" && name !== "budget" ? `${part}: ` : "";
    if (field in draft) errors[field] ??= `${inside}${detail}`;
  }
  return errors;
}

function object(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`This is no JSON: ${error instanceof Error ? error.message : ""}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("This has to be a JSON object, {…}.");
  return value;
}

function number(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new Error("This has to be a number.");
  return value;
}
