/** A duration as people say it: `850 ms`, `12.4 s`, `3 min 5 s`, `2 h 7 min`. */
export function duration(milliseconds: number | undefined): string {
  if (milliseconds === undefined || !Number.isFinite(milliseconds)) return "–";
  const ms = Math.max(0, milliseconds);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 59.95) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(Math.round(seconds) / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Time left, never more exact than it can be. */
export function remaining(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 5) return "a few seconds left";
  if (seconds < 55) return `~${Math.ceil(seconds / 5) * 5} s left`;
  const minutes = seconds / 60;
  return minutes < 55 ? `~${Math.ceil(minutes)} min left` : `~${Math.ceil(minutes / 60)} h left`;
}

/** Elapsed time that ticks: `0:07`, `12:41`, `1:02:03`. */
export function clock(milliseconds: number): string {
  const total = Math.max(0, Math.floor(milliseconds / 1000));
  const [hours, minutes, seconds] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60];
  const tail = String(seconds).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });

/** Time of day with seconds. */
export const timeOfDay = (at: number): string => TIME.format(at);

/** Day and time. */
export const dayAndTime = (at: number): string => DAY.format(at);

/** Bytes as people say them. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  const unit = count < 1e6 ? 1e3 : count < 1e9 ? 1e6 : 1e9;
  return `${(count / unit).toFixed(count / unit < 10 ? 1 : 0)} ${unit === 1e3 ? "kB" : unit === 1e6 ? "MB" : "GB"}`;
}

/** `1 agent`, `2 agents`. */
export const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
