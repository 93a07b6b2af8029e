import type { Api } from "./api.ts";
import { Attachment, type AttachOptions, type Origin } from "./attach.ts";
import type { Link } from "./link.ts";
import { reduce } from "./reduce.ts";
import type { Snapshot } from "./snapshot.ts";
import { corrected, EMPTY, fromSnapshot, type TaskView } from "./view.ts";
import type { TaskEvent } from "./wire.ts";

/** Silence of a running task after which somebody is told; milliseconds. */
export const SILENCE = 5 * 60_000;

/** Logs up to this length are read from their beginning, so that every line is there to be read. */
export const REPLAYED = 20_000;

/** What is known of a followed task. A new object whenever something changes. */
export interface Followed {
  readonly view: TaskView;
  readonly link: Link;
  /** A running task has told nothing for `SILENCE`. */
  readonly silent: boolean;
  /** Frames that could not be read. */
  readonly unreadable: number;
  /** The log was too long to be read whole; lines before this number are not shown. */
  readonly linesFrom: number;
  /** Server time minus time here; milliseconds. */
  readonly clock: number;
}

export interface FollowOptions extends AttachOptions {
  /** Calls back when it is a good time to show what came; once per animation frame in a browser. */
  schedule?: (show: () => void) => void;
}

/** Follows one task: its log folded into a view, and the state of the connection beside it. */
export class TaskFollower {
  readonly #api: Api;
  readonly #options: FollowOptions;
  readonly #schedule: (show: () => void) => void;
  readonly #listeners = new Set<() => void>();
  #attachment: Attachment;
  #state: Followed;
  #folded: TaskView;
  /** Up to this number a snapshot is shown, while the log behind it is read again. */
  #catchUp = 0;
  #waiting: TaskEvent[] = [];
  #scheduled = false;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #heardAt = Date.now();
  #taskId: string | undefined;
  #resolveTask: (taskId: string) => void = () => {};
  #rejectTask: (reason: unknown) => void = () => {};

  /** The id of the task; rejected with the `Problem` when the server refuses to start it. */
  readonly task: Promise<string>;

  constructor(api: Api, origin: Origin, options: FollowOptions & { snapshot?: Snapshot } = {}) {
    this.#api = api;
    this.#options = options;
    this.#schedule = options.schedule ?? ((show) => void setTimeout(show, 16));
    this.task = new Promise((resolve, reject) => {
      this.#resolveTask = resolve;
      this.#rejectTask = reject;
    });
    this.task.catch(() => {}); // whoever wants to know waits for it
    const { snapshot } = options;
    const whole = snapshot !== undefined && snapshot.lastEventId <= REPLAYED;
    const view = snapshot === undefined ? EMPTY : fromSnapshot(snapshot);
    this.#folded = snapshot === undefined || whole ? EMPTY : view;
    this.#catchUp = whole ? snapshot.lastEventId : 0;
    this.#state = {
      view, link: { state: "idle" }, silent: false, unreadable: 0, clock: 0,
      linesFrom: snapshot === undefined || whole ? 0 : snapshot.lastEventId,
    };
    if ("taskId" in origin) this.#known(origin.taskId);
    const from = "taskId" in origin ? { taskId: origin.taskId, after: this.#folded.seq } : origin;
    this.#attachment = this.#attach(from);
    void this.#attachment.run();
    this.#listenForSilence();
  }

  /** Which task; undefined until the server has taken a new one. */
  get taskId(): string | undefined {
    return this.#taskId;
  }

  /** What is known now; the same object until something changes. */
  get state(): Followed {
    return this.#state;
  }

  /** Calls back after every change; returns what ends that. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  wake = (): void => this.#attachment.wake();
  release = (): void => this.#attachment.release();
  hold = (): void => this.#attachment.hold();

  /** Somebody doubts the silence: ask again, and tell again if it lasts. */
  check(): void {
    this.#heardAt = Date.now();
    this.#change({ silent: false });
    this.#listenForSilence();
    this.#attachment.check();
  }

  /** Take a newer snapshot into account; follow on when it shows that the task has gone on. */
  meet(snapshot: Snapshot): void {
    if (snapshot.taskId !== this.#taskId) return;
    this.#folded = corrected(this.#folded, snapshot);
    this.#show();
    if (this.#state.link.state === "ended" && snapshot.lastEventId > this.#folded.seq) {
      this.#attachment = this.#attach({ taskId: snapshot.taskId, after: this.#folded.seq });
      void this.#attachment.run();
    }
  }

  /** Stop following. The task goes on. */
  close(): void {
    this.#attachment.close();
    clearTimeout(this.#quiet);
    this.#listeners.clear();
  }

  #attach(origin: Origin): Attachment {
    return new Attachment(this.#api, origin, {
      onEvents: (events) => this.#take(events),
      onLink: (link) => this.#linked(link),
      onTask: (taskId) => this.#known(taskId),
      onUnreadable: () => this.#change({ unreadable: this.#state.unreadable + 1 }),
      onClock: (clock) => clock !== this.#state.clock && this.#change({ clock }),
    }, this.#options);
  }

  #known(taskId: string): void {
    this.#taskId = taskId;
    this.#resolveTask(taskId);
  }

  #linked(link: Link): void {
    if (link.state === "refused") this.#rejectTask(link.problem);
    if (link.state === "ended") this.#show();
    this.#change({ link });
  }

  #take(events: TaskEvent[]): void {
    this.#heardAt = Date.now();
    for (const event of events) this.#waiting.push(event);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#schedule(() => this.#show());
  }

  /** Fold what waits, and show it unless a snapshot is still ahead of it. */
  #show(): void {
    this.#scheduled = false;
    const events = this.#waiting;
    this.#waiting = [];
    this.#folded = reduce(this.#folded, events);
    if (this.#folded.seq < this.#catchUp) return;
    this.#catchUp = 0;
    if (this.#state.view === this.#folded && !this.#state.silent) return;
    this.#change({ view: this.#described(), silent: false });
  }

  /** The log does not repeat the description; the snapshot or the request has it. */
  #described(): TaskView {
    if (this.#folded.description === "" && this.#state.view.description !== "") {
      this.#folded = { ...this.#folded, description: this.#state.view.description };
    }
    return this.#folded;
  }

  #listenForSilence(): void {
    clearTimeout(this.#quiet);
    const left = this.#heardAt + SILENCE - Date.now();
    this.#quiet = setTimeout(() => {
      const over = Date.now() - this.#heardAt >= SILENCE;
      if (over && this.#state.view.status === "running" && !this.#state.silent) this.#change({ silent: true });
      if (over) this.#heardAt = Math.max(this.#heardAt, Date.now() - SILENCE + 1000); // look again in a second
      this.#listenForSilence();
    }, Math.max(left, 1000));
  }

  #change(change: Partial<Followed>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of [...this.#listeners]) listener();
  }
}
