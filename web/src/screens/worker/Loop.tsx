import { Play, Square } from "lucide-react";

import type { RunnerStatus } from "../../client/snapshot.ts";
import { time } from "../../client/view.ts";
import { Button } from "../../components/Button.tsx";
import { counted, dayAndTime } from "../../components/format.ts";
import { ResetStuck } from "./ResetStuck.tsx";
import { useSwitch } from "./useSwitch.ts";

export const NOT_ADMIN = "This needs a token with the scope admin";

const DRAINING_AFTER = 5000; // milliseconds; a stop that takes longer is explained
const TONES = { running: "running", draining: "paused", stopped: "pending" } as const;
const SIGNS = { running: "◐", draining: "‖", stopped: "○" } as const;
const WORDS = { running: "Running", draining: "Draining", stopped: "Stopped" } as const;

/** How the loop is, and its switch. */
export function Loop({ status, admin }: { status: RunnerStatus; admin: boolean }) {
  const { busy, waited, start, stop } = useSwitch();
  const notAdmin = admin ? undefined : NOT_ADMIN;
  const slow = status.state === "draining" && (busy !== "stop" || waited >= DRAINING_AFTER);
  return (
    <section className="card runner" data-tone={TONES[status.state]} aria-label="Worker loop">
      <div className="runner-state">
        <span className="status" data-tone={TONES[status.state]}><span className="status-sign" aria-hidden="true">{SIGNS[status.state]}</span>{WORDS[status.state]}</span>
        {status.since !== undefined && <span className="muted small">since {dayAndTime(time(status.since) ?? 0)}</span>}
      </div>
      <dl className="runner-figures">
        <div><dt>Running</dt><dd className="numbers">{status.runningTasks} of {counted(status.slots, "slot")}</dd></div>
        <div><dt>Queued</dt><dd className="numbers">{status.queuedTasks}</dd></div>
      </dl>
      <div className="actions">
        {status.state !== "running" && <Button kind="primary" icon={Play} reason={notAdmin} isBusy={busy === "start"} onClick={() => void start()}>Start</Button>}
        {status.state === "running" && <Button icon={Square} reason={notAdmin} isBusy={busy === "stop"} onClick={() => void stop(false)}>Stop</Button>}
        <ResetStuck reason={notAdmin} />
      </div>
      {slow && (
        <p className="banner" data-tone="paused" role="status">
          Draining, {counted(status.runningTasks, "task")} still {status.runningTasks === 1 ? "runs" : "run"}.
          <Button kind="danger" reason={notAdmin} onClick={() => void stop(true)}>Stop now</Button>
        </p>
      )}
      {status.state === "stopped" && <p className="muted">New tasks are accepted and wait.</p>}
      {status.lastError !== undefined && <p className="banner" data-tone="error">Last error: {status.lastError}</p>}
    </section>
  );
}
