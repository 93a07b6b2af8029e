import { plain } from "../components/plain.ts";
import { isEnd } from "../client/view.ts";
import type { Snapshot } from "../client/snapshot.ts";
import type { TaskStatus } from "../client/wire.ts";
import { announce, toast } from "./announce.ts";
import { BASE_PATH } from "./config.ts";
import { preferences } from "./preferences.ts";
import { refresh } from "./queries.ts";
import { tasks } from "./tasks.ts";

const WORDS: Partial<Record<TaskStatus, string>> = {
  completed: "Completed", failed: "Failed", timed_out: "Timed out", cancelled: "Cancelled",
};
const told = new Map<string, number>();
let audio: AudioContext | undefined;

/** Tell the end of a task once: to the ear, to the desktop if nobody looks, and on the page. */
export function tellEnd(task: { taskId: string; title: string; status: TaskStatus }, seq: number, isShown: boolean): void {
  if (!isEnd(task.status) || (told.get(task.taskId) ?? 0) >= seq) return;
  told.set(task.taskId, seq);
  const word = WORDS[task.status] ?? "Ended";
  const good = task.status === "completed";
  if (preferences.get().sound) play(good);
  if (document.visibilityState === "hidden") notify(`${word}: ${task.title}`, task.taskId);
  if (isShown) announce(`Task ${word.toLowerCase()}`);
  else toast(`${word}: ${task.title}`, good ? "success" : task.status === "cancelled" ? "info" : "error", `/tasks/${task.taskId}`);
  refresh(task.taskId);
}

/** Tell the end of the followed task as its events say. */
export function watchEnds(): void {
  const end = () => {
    const view = tasks.followed?.view;
    if (view !== undefined && view.taskId !== "") tellEnd(view, view.seq, true);
  };
  tasks.on("taskCompleted", end);
  tasks.on("taskError", end);
}

/** Tasks that were running when a list was asked for and are gone from the next one. */
export function gone(before: readonly Snapshot[], now: readonly Snapshot[]): Snapshot[] {
  const there = new Set(now.map((task) => task.taskId));
  return before.filter((task) => !there.has(task.taskId));
}

/** Ask for the right to notify; only ever after a click. */
export async function mayNotify(): Promise<boolean> {
  if (!("Notification" in globalThis)) return false;
  return Notification.permission === "granted" || (await Notification.requestPermission()) === "granted";
}

/** Two soft tones: up when it went well, down when it did not. */
export function play(good: boolean): void {
  audio ??= new AudioContext();
  const tones = good ? [523.25, 783.99] : [392, 293.66];
  for (const [index, frequency] of tones.entries()) {
    const at = audio.currentTime + index * 0.16;
    const tone = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0, at);
    volume.gain.linearRampToValueAtTime(0.12, at + 0.02);
    volume.gain.exponentialRampToValueAtTime(0.001, at + 0.4);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + 0.45);
  }
}

function notify(text: string, taskId: string): void {
  if (!preferences.get().notices || !("Notification" in globalThis) || Notification.permission !== "granted") return;
  const notice = new Notification("Poststream", { body: plain(text), tag: taskId });
  notice.onclick = () => {
    focus();
    location.assign(`${BASE_PATH}/tasks/${taskId}`);
    notice.close();
  };
}
