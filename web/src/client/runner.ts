import type { Api } from "./api.ts";
import { readFrames } from "./frames.ts";
import { type Link, TRIES, waitBefore } from "./link.ts";
import { isRecord, Problem } from "./problem.ts";
import type { RunnerLine, RunnerStatus } from "./snapshot.ts";

/** A line and its number in the log of the worker. */
export type NumberedLine = RunnerLine & { id: number };

/** Lines that are kept for reading; the server keeps as many. */
const MAX_LINES = 2000;

/** Follows the worker's log: first what is kept, then live, over every cut of the connection. */
export class RunnerFollower {
  readonly #api: Api;
  readonly #onChange: () => void;
  readonly #request = { current: new AbortController() };
  #closed = false;
  #failures = 0;
  #last = 0;
  #wake: (() => void) | undefined;
  #scheduled = false;

  /** A new array whenever there are new lines. */
  lines: readonly NumberedLine[] = [];
  link: Link = { state: "idle" };

  constructor(api: Api, onChange: () => void) {
    this.#api = api;
    this.#onChange = onChange;
  }

  /** Read until `close`. */
  async run(): Promise<void> {
    while (!this.#closed) {
      this.#say({ state: "connecting", attempt: this.#failures });
      const problem = await this.#once();
      if (this.#closed) return;
      if (problem !== undefined && problem.status === 401) {
        this.#say({ state: "signed-out" });
        await this.#woken();
      } else if (problem !== undefined && !problem.passes) {
        this.#say({ state: "refused", problem });
        return;
      } else await this.#pause(problem?.retryAfter);
    }
  }

  /** Try at once. */
  wake(): void {
    this.#failures = 0;
    this.#wake?.();
  }

  close(): void {
    this.#closed = true;
    this.#request.current.abort();
    this.#wake?.();
  }

  /** Forget the lines that are shown; those to come are shown again. */
  clear(): void {
    this.lines = [];
    this.#onChange();
  }

  /** Read once, until the connection ends; the problem if it was refused. */
  async #once(): Promise<Problem | undefined> {
    this.#request.current = new AbortController();
    try {
      // From 0 on, the server sends all lines it keeps; without a cursor only its last hundred.
      const response = await this.#api.runnerStream(this.#last, this.#request.current.signal);
      this.#say({ state: "live" });
      if (response.body === null) return undefined;
      for await (const frames of readFrames(response.body)) {
        this.#failures = 0;
        for (const frame of frames) this.#take(frame.id, frame.data);
      }
    } catch (error) {
      if (error instanceof Problem) return error;
    }
    return undefined;
  }

  #take(id: string | undefined, data: string): void {
    const number = Number(id);
    if (!Number.isFinite(number) || number <= this.#last) return;
    try {
      const line: unknown = JSON.parse(data);
      if (!isRecord(line)) return;
      this.#last = number;
      this.#add({ ...(line as unknown as RunnerLine), id: number });
    } catch {
      // a line that cannot be read is skipped
    }
  }

  #fresh: NumberedLine[] = [];

  #add(line: NumberedLine): void {
    this.#fresh.push(line);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setTimeout(() => {
      this.#scheduled = false;
      this.lines = [...this.lines, ...this.#fresh].slice(-MAX_LINES);
      this.#fresh = [];
      this.#onChange();
    }, 50);
  }

  async #pause(retryAfter?: number): Promise<void> {
    this.#failures += 1;
    if (this.#failures > TRIES) {
      this.#failures = 0;
      this.#say({ state: "lost" });
      return this.#woken();
    }
    const wait = waitBefore(this.#failures, retryAfter);
    this.#say({ state: "waiting", attempt: this.#failures, until: Date.now() + wait });
    return this.#woken(wait);
  }

  #woken(milliseconds?: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = milliseconds === undefined ? undefined : setTimeout(done, milliseconds);
      this.#wake = done;
    });
  }

  #say(link: Link): void {
    this.link = link;
    this.#onChange();
  }
}

export type StartOutcome = "started" | "attached";

/** Start the loop; one that runs already is attached to, never started twice. */
export async function startRunner(api: Api): Promise<StartOutcome> {
  const status = await api.runnerStatus();
  if (status.state === "running") return "attached";
  try {
    await api.runnerStart();
    return "started";
  } catch (error) {
    if (error instanceof Problem && error.document.error === "ALREADY_RUNNING") return "attached";
    throw error;
  }
}

/**
 * Stop the loop and ask every half second until it has.
 *
 * @param onStatus what each answer tells, with the milliseconds since the stop was asked for.
 * @param signal ends the asking, not the stop.
 */
export async function stopRunner(
  api: Api, now: boolean, onStatus: (status: RunnerStatus, waited: number) => void, signal: AbortSignal,
): Promise<void> {
  const asked = Date.now();
  await api.runnerStop(now);
  for (;;) {
    const status = await api.runnerStatus();
    if (signal.aborted) return;
    onStatus(status, Date.now() - asked);
    if (!status.isRunning) return;
    await new Promise((resolve) => setTimeout(resolve, 500));
    if (signal.aborted) return;
  }
}
