import type { Api } from "./api.ts";
import { type Frame, readFrames } from "./frames.ts";
import { type Link, TRIES, waitBefore } from "./link.ts";
import { isRecord, Problem } from "./problem.ts";
import type { TaskEvent, TaskRequest } from "./wire.ts";

/** What is attached to: a task that is there, or one that this very request starts. */
export type Origin =
  | { taskId: string; after: number }
  | { request: TaskRequest; key: string };

export interface Listener {
  /** New events in the order of the log, each exactly once. */
  onEvents: (events: TaskEvent[]) => void;
  onLink: (link: Link) => void;
  /** The task is known; called once, for a new task as soon as the server has taken it. */
  onTask?: (taskId: string) => void;
  /** A frame that could not be read; it is skipped. */
  onUnreadable?: (frame: Frame) => void;
  /** Server time minus time here in milliseconds, as the answer's head tells it. */
  onClock?: (offset: number) => void;
}

export interface AttachOptions {
  /** Silence after which a connection counts as dead although nobody closed it; milliseconds. */
  deadAfter?: number;
  /** How long to wait before a try, in milliseconds; `waitBefore` unless said otherwise. */
  wait?: (attempt: number, retryAfter?: number) => number;
}

const TERMINAL: ReadonlySet<string> = new Set(["task_complete", "task_error"]);
const END_FRAMES: ReadonlySet<string> = new Set(["complete", "error"]);

type Outcome =
  | { kind: "ended" }
  | { kind: "broken"; retryAfter?: number | undefined }
  | { kind: "signed-out" }
  | { kind: "stopped" }
  | { kind: "refused"; problem: Problem };

/**
 * Reads a task's events until its end, whatever happens to the connection meanwhile.
 *
 * A new task is POSTed until the server has taken it, always with the same key; from then on it is
 * only ever read. An answer that ends without the end of the task is a lost connection, never success.
 */
export class Attachment {
  readonly #api: Api;
  readonly #listener: Listener;
  readonly #deadAfter: number;
  readonly #wait: typeof waitBefore;
  readonly #origin: Origin;
  #taskId: string | undefined;
  #seq: number;
  #terminal = false;
  #failures = 0;
  #closed = false;
  #released = false;
  #again = false;
  #request: AbortController | undefined;
  #wake: (() => void) | undefined;
  #link: Link = { state: "idle" };

  constructor(api: Api, origin: Origin, listener: Listener, options: AttachOptions = {}) {
    this.#api = api;
    this.#origin = origin;
    this.#listener = listener;
    this.#deadAfter = options.deadAfter ?? 60_000;
    this.#wait = options.wait ?? waitBefore;
    this.#taskId = "taskId" in origin ? origin.taskId : undefined;
    this.#seq = "taskId" in origin ? origin.after : 0;
  }

  get link(): Link {
    return this.#link;
  }

  /** Number of the last event that was read. */
  get seq(): number {
    return this.#seq;
  }

  /** Attach, and attach again; returns when everything was read, it was refused, or closed. */
  async run(): Promise<void> {
    while (!this.#closed) {
      if (this.#released) {
        this.#say({ state: "released" });
        await this.#woken();
        continue;
      }
      this.#say({ state: "connecting", attempt: this.#failures });
      const outcome = await this.#once();
      if (this.#closed) return;
      if (outcome.kind === "ended") return this.#say({ state: "ended" });
      if (outcome.kind === "refused") return this.#say({ state: "refused", problem: outcome.problem });
      if (outcome.kind === "signed-out") {
        this.#say({ state: "signed-out" });
        await this.#woken();
      } else if (outcome.kind === "broken") {
        await this.#pause(outcome.retryAfter);
      }
    }
  }

  /** Try at once and count from the beginning: somebody asked, looks again, or the network is back. */
  wake(): void {
    this.#failures = 0;
    this.#wake?.();
  }

  /** Give the connection back; `hold` takes it again. The task goes on. */
  release(): void {
    this.#released = true;
    this.#request?.abort();
    this.#wake?.();
  }

  /** Attach again after `release`. */
  hold(): void {
    this.#released = false;
    this.wake();
  }

  /** Cut a connection that may be dead and attach again at once. */
  check(): void {
    this.#again = true;
    this.#request?.abort();
    this.wake();
  }

  /** Stop reading for good. The task goes on. */
  close(): void {
    this.#closed = true;
    this.#request?.abort();
    this.#wake?.();
  }

  async #once(): Promise<Outcome> {
    const request = new AbortController();
    this.#request = request;
    this.#again = false;
    let heard = Date.now();
    const watch = setInterval(() => {
      if (Date.now() - heard > this.#deadAfter) request.abort();
    }, Math.min(this.#deadAfter, 5000));
    try {
      const response = await this.#ask(request.signal);
      heard = Date.now();
      this.#taken(response);
      if (response.status === 204 || response.body === null) return { kind: "ended" };
      this.#say({ state: "live" });
      for await (const frames of readFrames(response.body, () => void (heard = Date.now()))) {
        if (this.#stopped()) break;
        const told = this.#read(frames);
        if (told !== undefined) return told;
      }
      if (this.#stopped()) return { kind: "stopped" };
      return { kind: this.#terminal ? "ended" : "broken" };
    } catch (error) {
      return this.#failed(error);
    } finally {
      clearInterval(watch);
      request.abort();
    }
  }

  #ask(signal: AbortSignal): Promise<Response> {
    if (this.#taskId !== undefined) return this.#api.taskStream(this.#taskId, this.#seq, signal);
    const origin = this.#origin as Extract<Origin, { key: string }>;
    return this.#api.submitStream(origin.request, origin.key, signal);
  }

  #taken(response: Response): void {
    const date = Date.parse(response.headers.get("date") ?? "");
    // The head tells whole seconds; below two of them the clocks agree.
    if (!Number.isNaN(date)) {
      const offset = date - Date.now();
      this.#listener.onClock?.(Math.abs(offset) < 2000 ? 0 : offset);
    }
    const taskId = response.headers.get("x-task-id");
    if (this.#taskId === undefined && taskId !== null) {
      this.#taskId = taskId;
      this.#listener.onTask?.(taskId);
    }
  }

  /** Pass on what is new; the outcome if the answer says it is over. */
  #read(frames: Frame[]): Outcome | undefined {
    const fresh: TaskEvent[] = [];
    let outcome: Outcome | undefined;
    for (const frame of frames) {
      if (frame.id === undefined) {
        if (END_FRAMES.has(frame.event ?? "")) outcome = { kind: "ended" };
        continue;
      }
      const seq = Number(frame.id);
      if (seq <= this.#seq) continue; // a repeat
      if (seq > this.#seq + 1) {
        outcome = { kind: "broken" }; // something is missing: ask for it
        break;
      }
      this.#seq = seq;
      const event = this.#parse(frame);
      if (event === undefined) continue;
      this.#terminal = TERMINAL.has(event.type);
      fresh.push(event);
    }
    if (fresh.length > 0) {
      this.#failures = 0;
      this.#listener.onEvents(fresh);
    }
    return outcome;
  }

  #parse(frame: Frame): TaskEvent | undefined {
    try {
      const data: unknown = JSON.parse(frame.data);
      if (isRecord(data) && typeof data.type === "string" && typeof data.timestamp === "string") {
        return { ...data, seq: Number(frame.id) } as TaskEvent;
      }
    } catch {
      // told below, like anything else that is no event
    }
    this.#listener.onUnreadable?.(frame);
    return undefined;
  }

  #failed(error: unknown): Outcome {
    if (this.#stopped()) return { kind: "stopped" };
    if (!(error instanceof Problem)) return { kind: "broken" }; // cut while it was read
    if (error.status === 401) return { kind: "signed-out" };
    const waits = error.passes && !(this.#taskId === undefined && error.status === 429);
    return waits ? { kind: "broken", retryAfter: error.retryAfter } : { kind: "refused", problem: error };
  }

  /** Whether it was not the line that cut this connection, but we. */
  #stopped(): boolean {
    return this.#closed || this.#released || this.#again;
  }

  async #pause(retryAfter?: number): Promise<void> {
    this.#failures += 1;
    if (this.#failures > TRIES) {
      this.#failures = 0;
      this.#say({ state: "lost" });
      await this.#woken();
      return;
    }
    const wait = this.#wait(this.#failures, retryAfter);
    this.#say({ state: "waiting", attempt: this.#failures, until: Date.now() + wait });
    await this.#woken(wait);
  }

  /** Until `wake`, or until some time has passed. */
  #woken(milliseconds?: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = milliseconds === undefined ? undefined : setTimeout(done, milliseconds);
      const self = this;
      function done(): void {
        clearTimeout(timer);
        self.#wake = undefined;
        resolve();
      }
      this.#wake = done;
    });
  }

  #say(link: Link): void {
    this.#link = link;
    this.#listener.onLink(link);
  }
}
