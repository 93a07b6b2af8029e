import type { Api } from "./api.ts";
import { Emitter } from "./emitter.ts";
import { type Followed, type FollowOptions, TaskFollower } from "./follower.ts";
import { isRecord, Problem } from "./problem.ts";
import type { JobPage, Snapshot } from "./snapshot.ts";
import { isEnd, type TaskView } from "./view.ts";
import type { TaskRequest } from "./wire.ts";

/** Which jobs of the history. */
export interface HistoryOptions {
  limit?: number;
  offset?: number;
  jobType?: string;
  status?: string;
  archived?: boolean;
}

export interface ManagerEvents {
  /** An unfinished task was found at the start; the newest, if there are several. */
  taskRestored: Snapshot;
  noActiveTask: undefined;
  /** The followed task has gone on. */
  taskProgress: TaskView;
  /** The followed task has completed. */
  taskCompleted: TaskView;
  /** The followed task failed, was cancelled or timed out; or a request was refused. */
  taskError: { taskId?: string; error: string; code?: string; status?: string };
  /** The connection changed, or anything else of `followed`. */
  change: undefined;
}

export interface ManagerOptions extends FollowOptions {
  /** Makes an `Idempotency-Key`. */
  makeKey?: () => string;
  /** Keeps what was submitted and not yet answered over a reload of the page. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
}

const PENDING = "poststream.pending";

/**
 * Starts, restores, follows and stops tasks; at most one is followed at a time.
 *
 *     const tasks = new TaskStateManager(new Api({ base, token }));
 *     tasks.on("taskProgress", (view) => show(view));
 *     await tasks.initialize();
 */
export class TaskStateManager {
  readonly #api: Api;
  readonly #options: ManagerOptions;
  readonly #emitter = new Emitter<ManagerEvents>();
  #follower: TaskFollower | undefined;
  #starting: { body: string; key: string; task: Promise<string> } | undefined;
  #initialized: Promise<Snapshot | undefined> | undefined;

  constructor(api: Api, options: ManagerOptions = {}) {
    this.#api = api;
    this.#options = options;
  }

  on: Emitter<ManagerEvents>["on"] = (name, listener) => this.#emitter.on(name, listener);

  /** What is known of the followed task; undefined while none is. */
  get followed(): Followed | undefined {
    return this.#follower?.state;
  }

  /** The one who follows; for `wake`, `release`, `hold` and `check`. */
  get follower(): TaskFollower | undefined {
    return this.#follower;
  }

  /** Restore what was there before the page was loaded; once, however often it is called. */
  initialize(): Promise<Snapshot | undefined> {
    this.#initialized ??= this.restoreActiveTask();
    return this.#initialized;
  }

  /** Follow the newest unfinished task of this user, if there is one. */
  async restoreActiveTask(): Promise<Snapshot | undefined> {
    const [newest] = await this.#reporting(this.#api.activeTasks());
    if (newest === undefined) {
      this.#emitter.emit("noActiveTask", undefined);
      return undefined;
    }
    const snapshot = await this.#reporting(this.#api.snapshot(newest.taskId));
    this.#emitter.emit("taskRestored", snapshot);
    this.follow(snapshot);
    return snapshot;
  }

  /**
   * Start a task and follow it; resolves with its id once the server has taken it.
   *
   * The same request again while the first is under way is the same task, also after a reload.
   *
   * @throws Problem when the server refuses it.
   */
  startTask(request: TaskRequest): Promise<string> {
    const body = JSON.stringify(request);
    if (this.#starting?.body === body) return this.#starting.task;
    const kept = this.pendingTask();
    const key = kept !== undefined && JSON.stringify(kept.request) === body ? kept.key : this.#makeKey();
    this.#options.storage?.setItem(PENDING, JSON.stringify({ key, request }));
    const follower = this.#replace(new TaskFollower(this.#api, { request, key }, this.#options));
    const task = follower.task.finally(() => {
      this.#options.storage?.removeItem(PENDING);
      this.#starting = undefined;
    });
    this.#starting = { body, key, task };
    return this.#reporting(task);
  }

  /** What was submitted before a reload and has had no answer; `startTask` with it goes on. */
  pendingTask(): { key: string; request: TaskRequest } | undefined {
    try {
      const kept: unknown = JSON.parse(this.#options.storage?.getItem(PENDING) ?? "null");
      return isRecord(kept) ? (kept as { key: string; request: TaskRequest }) : undefined;
    } catch {
      return undefined;
    }
  }

  /** Follow a task that is there; one that is followed already goes on as it is. */
  follow(snapshot: Snapshot): TaskFollower {
    if (this.#follower?.taskId === snapshot.taskId) {
      this.#follower.meet(snapshot);
      return this.#follower;
    }
    const origin = { taskId: snapshot.taskId, after: 0 };
    return this.#replace(new TaskFollower(this.#api, origin, { ...this.#options, snapshot }));
  }

  /** Stop following: closes the stream and every timer. The task goes on. */
  leave(): void {
    this.#follower?.close();
    this.#follower = undefined;
    this.#starting = undefined;
    this.#emitter.emit("change", undefined);
  }

  /** Cancel a task; without an id the one that is followed. */
  async stopTask(taskId?: string): Promise<{ taskId: string; status: string }> {
    const view = this.#follower?.state.view;
    const id = taskId ?? view?.taskId;
    if (id === undefined || id === "") throw new Error("There is no task to stop.");
    const seq = id === view?.taskId ? view.seq : undefined;
    return this.#reporting(this.#api.control(id, "cancel", seq));
  }

  /** The snapshot of a task; the followed one takes it into account. */
  async getTaskStatus(taskId: string): Promise<Snapshot> {
    const snapshot = await this.#reporting(this.#api.snapshot(taskId));
    this.#follower?.meet(snapshot);
    return snapshot;
  }

  /** A page of the history. */
  getJobHistory(options: HistoryOptions = {}): Promise<JobPage> {
    return this.#reporting(this.#api.jobs({ ...options }));
  }

  /** Close tasks whose owner is gone; needs the scope `admin`. */
  resetAgentState(): Promise<{ reset: unknown[]; skipped: unknown }> {
    return this.#reporting(this.#api.resetAgents());
  }

  #replace(follower: TaskFollower): TaskFollower {
    this.#follower?.close();
    this.#follower = follower;
    let { view } = follower.state;
    follower.subscribe(() => {
      const next = follower.state.view;
      if (next !== view) this.#tell(view, next);
      view = next;
      this.#emitter.emit("change", undefined);
    });
    this.#emitter.emit("change", undefined);
    return follower;
  }

  #tell(before: TaskView, view: TaskView): void {
    this.#emitter.emit("taskProgress", view);
    if (!isEnd(view.status) || isEnd(before.status)) return;
    if (view.status === "completed") this.#emitter.emit("taskCompleted", view);
    else {
      const { taskId, code, status } = view;
      this.#emitter.emit("taskError", { taskId, error: view.error ?? "The task did not complete.", code, status });
    }
  }

  #makeKey(): string {
    return this.#options.makeKey?.() ?? randomKey();
  }

  /** Tells listeners of a refusal before whoever asked gets it. */
  async #reporting<T>(asked: Promise<T>): Promise<T> {
    try {
      return await asked;
    } catch (error) {
      const code = error instanceof Problem ? error.slug : undefined;
      this.#emitter.emit("taskError", { error: error instanceof Error ? error.message : String(error), code });
      throw error;
    }
  }
}

/** 128 random bits in hex; `crypto.randomUUID` is missing on plain HTTP from another machine. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
