import { useQuery } from "@tanstack/react-query";
import { Eraser, Play, RefreshCcwDot, Square, Trash2 } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";

import { toast } from "../../app/announce.ts";
import { POLL_MILLISECONDS } from "../../app/config.ts";
import { queryClient } from "../../app/queries.ts";
import { isAdmin, session } from "../../app/session.ts";
import { useStore } from "../../app/store.ts";
import { api, tasks } from "../../app/tasks.ts";
import { startRunner, stopRunner } from "../../client/runner.ts";
import type { RunnerStatus } from "../../client/snapshot.ts";
import { time } from "../../client/view.ts";
import { Button, IconButton } from "../../components/Button.tsx";
import { Dialog } from "../../components/Dialog.tsx";
import { counted, dayAndTime } from "../../components/format.ts";
import LogPanel, { type PanelLine } from "../../components/LogPanel.tsx";
import { Failure, Loading } from "../../components/Notes.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { useRunnerLog } from "./useRunnerLog.ts";

import "../../styles/worker.css";

const DRAINING_AFTER = 5000;
const NOT_ADMIN = "This needs a token with the scope admin";

/** The loop that runs the tasks: its switch, and what it says. */
export default function Worker() {
  useTitle("Worker");
  const query = useQuery({ queryKey: ["runner"], queryFn: api.runnerStatus, refetchInterval: POLL_MILLISECONDS });
  const admin = isAdmin(useStore(session));
  const { lines, link, wake, clear } = useRunnerLog();
  const shown = useMemo(() => lines.map((line): PanelLine => ({
    seq: line.id, at: Date.parse(line.timestamp), level: line.type, text: line.message,
    tag: line.thread === 0 ? "loop" : `slot ${line.thread}`,
  })), [lines]);
  const clearAll = async () => {
    try {
      await api.runnerClear();
      clear();
    } catch (error) {
      toast(message(error), "error");
    }
  };
  return (
    <div className="screen">
      <h1>Worker</h1>
      {query.data !== undefined ? <Loop status={query.data} admin={admin} /> : query.isError ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      ) : <Loading lines={2} />}
      <section aria-labelledby="runner-log">
        <div className="row-between"><h2 id="runner-log">Log</h2><span className="muted small" data-link={link.state}>{linkWord(link.state)}</span></div>
        {(link.state === "waiting" || link.state === "lost") && (
          <p className="banner" data-tone="warning" role="status">
            {link.state === "lost" ? "Connection lost; the worker goes on." : `Connection lost; the worker goes on. Try ${link.attempt} of 5 follows.`}
            <Button onClick={wake}>{link.state === "lost" ? "Try again" : "Now"}</Button>
          </p>
        )}
        <div className="card terminal">
          <LogPanel
            lines={shown} name="worker.log" label="Log of the worker"
            tools={(
              <>
                <IconButton icon={Eraser} label="Clear the view" onClick={clear} />
                <IconButton icon={Trash2} label="Delete the log on the server" reason={admin ? undefined : NOT_ADMIN} onClick={() => void clearAll()} />
              </>
            )}
          />
        </div>
      </section>
    </div>
  );
}

/** How the loop is, and its switch. */
function Loop({ status, admin }: { status: RunnerStatus; admin: boolean }) {
  const [busy, setBusy] = useState<"start" | "stop">();
  const [waited, setWaited] = useState(0);
  const asking = useRef<AbortController>(undefined);
  useEffect(() => () => asking.current?.abort(), []);
  const know = (told: RunnerStatus) => queryClient.setQueryData(["runner"], told);
  const start = async () => {
    setBusy("start");
    try {
      if ((await startRunner(api)) === "attached") toast("The loop runs already; this page is attached to it.");
    } catch (error) {
      toast(message(error), "error");
    }
    setBusy(undefined);
    void queryClient.invalidateQueries({ queryKey: ["runner"] });
  };
  const stop = async (now: boolean) => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    setBusy("stop");
    setWaited(0);
    try {
      await stopRunner(api, now, (told, since) => { know(told); setWaited(since); }, mine.signal);
    } catch (error) {
      toast(message(error), "error");
    }
    if (!mine.signal.aborted) setBusy(undefined);
  };
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

function ResetStuck({ reason }: { reason: string | undefined }) {
  const [asking, setAsking] = useState(false);
  const reset = async () => {
    setAsking(false);
    try {
      const done = await tasks.resetAgentState();
      toast(done.reset.length === 0 ? "Nothing was stuck." : `${counted(done.reset.length, "task")} reset.`, "success");
    } catch {
      // told by the manager's taskError below
    }
  };
  useEffect(() => tasks.on("taskError", ({ taskId, error }) => taskId === undefined && toast(error, "error")), []);
  return (
    <>
      <Button icon={RefreshCcwDot} reason={reason} onClick={() => setAsking(true)}>Reset stuck tasks</Button>
      {asking && (
        <Dialog title="Reset stuck tasks?" onClose={() => setAsking(false)}>
          <p>Closes tasks whose run is gone. One that lives is never touched.</p>
          <div className="dialog-actions">
            <Button onClick={() => setAsking(false)}>Leave them</Button>
            <Button kind="danger" data-first onClick={() => void reset()}>Reset</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}

const TONES = { running: "running", draining: "paused", stopped: "pending" } as const;
const SIGNS = { running: "◐", draining: "‖", stopped: "○" } as const;
const WORDS = { running: "Running", draining: "Draining", stopped: "Stopped" } as const;

function linkWord(state: string): string {
  return state === "live" ? "● live" : state === "refused" ? "not allowed" : "connecting …";
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
