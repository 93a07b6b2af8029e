import { Problem } from "./problem.ts";
import type { JobPage, RunnerLine, RunnerStatus, Snapshot, Team } from "./snapshot.ts";
import type { ArtifactInfo, TaskEvent, TaskRequest } from "./wire.ts";

export interface ApiOptions {
  /** Where the server is mounted, with a slash at the end. */
  base: string;
  /** The token of whoever asks; undefined before login. */
  token: () => string | undefined;
  /** Called with a token that was refused; there may be a newer one by then. */
  onUnauthorized?: (refused: string | undefined) => void;
}

type Query = Record<string, string | number | boolean | undefined>;

/** The requests of a client, each with its token. Every refusal is a `Problem`. */
export class Api {
  readonly #options: ApiOptions;

  constructor(options: ApiOptions) {
    this.#options = options;
  }

  team = (): Promise<Team> => this.json("GET", "api/agents");

  activeTasks = async (): Promise<Snapshot[]> =>
    (await this.json<{ tasks: Snapshot[] }>("GET", "api/tasks/active")).tasks;

  tasks = (query: Query = {}): Promise<{ tasks: Snapshot[]; nextCursor?: string }> =>
    this.json("GET", "api/tasks", { query });

  snapshot = (taskId: string): Promise<Snapshot> => this.json("GET", `api/tasks/${taskId}`);

  events = (taskId: string, after: number, limit = 1000): Promise<{ events: TaskEvent[]; lastEventId: number }> =>
    this.json("GET", `api/tasks/${taskId}/events`, { query: { after, limit } });

  artifacts = async (taskId: string): Promise<(ArtifactInfo & { agentRole: string; url: string })[]> =>
    (await this.json<{ artifacts: (ArtifactInfo & { agentRole: string; url: string })[] }>(
      "GET", `api/tasks/${taskId}/artifacts`,
    )).artifacts;

  /** Moves a task on; `lastEventId` keeps a late click from meeting a later turn of the task. */
  control = (
    taskId: string, action: "cancel" | "pause" | "resume" | "retry", lastEventId?: number,
  ): Promise<{ taskId: string; status: string }> =>
    this.json("POST", `api/tasks/${taskId}/${action}`, { query: { lastEventId } });

  answer = (taskId: string, questionId: string, answer: string): Promise<unknown> =>
    this.json("POST", `api/tasks/${taskId}/answer`, { body: { questionId, answer } });

  remove = (taskId: string, lastEventId?: number): Promise<void> =>
    this.json("DELETE", `api/tasks/${taskId}`, { query: { lastEventId } });

  jobs = (query: Query = {}): Promise<JobPage> => this.json("GET", "api/jobs/history", { query });

  statistics = (query: Query = {}): Promise<Record<string, unknown>> =>
    this.json("GET", "api/jobs/stats", { query });

  resetAgents = (): Promise<{ reset: unknown[]; skipped: unknown }> =>
    this.json("POST", "api/agents/reset-state");

  runnerStatus = (): Promise<RunnerStatus> => this.json("GET", "api/task-runner/status");

  runnerLog = (): Promise<{ logs: RunnerLine[]; isRunning: boolean }> =>
    this.json("GET", "api/task-runner/logs-history");

  runnerStart = (): Promise<unknown> => this.json("POST", "api/task-runner/start");

  runnerStop = (now = false): Promise<unknown> =>
    this.json("POST", "api/task-runner/stop", { query: { mode: now ? "now" : undefined } });

  runnerClear = (): Promise<unknown> => this.json("POST", "api/task-runner/clear-logs");

  /** Whether the server takes new tasks. */
  isReady = async (): Promise<boolean> => {
    const response = await fetch(this.url("readyz")).catch(() => undefined);
    if (response === undefined) throw Problem.unreachable();
    return response.ok;
  };

  /** POSTs a task; the answer is its stream. */
  submitStream = (request: TaskRequest, key: string, signal: AbortSignal): Promise<Response> =>
    this.fetch("POST", "api/agents/execute/stream", {
      headers: { "content-type": "application/json", "idempotency-key": key, accept: "text/event-stream" },
      body: JSON.stringify(request),
      signal,
    });

  /** The stream of a task after a number; 204 when nothing is left. */
  taskStream = (taskId: string, after: number, signal: AbortSignal): Promise<Response> =>
    this.fetch("GET", `api/tasks/${taskId}/stream`, {
      headers: { accept: "text/event-stream", ...(after > 0 ? { "last-event-id": String(after) } : {}) },
      signal,
    });

  /** The log of the worker after a line: what is kept, then live. */
  runnerStream = (after: number, signal: AbortSignal): Promise<Response> =>
    this.fetch("GET", "api/task-runner/logs", {
      headers: { accept: "text/event-stream", "last-event-id": String(after) },
      signal,
    });

  /** The content of a file of the server. */
  blob = async (path: string): Promise<Blob> => (await this.fetch("GET", path)).blob();

  /** Where a path of the server is. */
  url(path: string, query: Query = {}): string {
    const url = new URL(path, this.#options.base);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== "") url.searchParams.set(name, String(value));
    }
    return url.href;
  }

  /** One request with a JSON answer. */
  async json<T>(method: string, path: string, options: { query?: Query; body?: unknown } = {}): Promise<T> {
    const { body } = options;
    const response = await this.fetch(method, path, {
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
      query: options.query,
    });
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  /**
   * One request.
   *
   * @throws Problem when it is refused, or the server cannot be reached.
   */
  async fetch(method: string, path: string, init: RequestInit & { query?: Query } = {}): Promise<Response> {
    const { query, ...rest } = init;
    const token = this.#options.token();
    const headers = new Headers(rest.headers);
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    let response: Response;
    try {
      response = await fetch(this.url(path, query), { ...rest, method, headers, cache: "no-store" });
    } catch (error) {
      if (rest.signal?.aborted) throw error;
      throw Problem.unreachable();
    }
    if (response.ok) return response;
    if (response.status === 401) this.#options.onUnauthorized?.(token);
    throw await Problem.from(response);
  }
}
