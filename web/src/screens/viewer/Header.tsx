import { Ban, Copy, FileOutput, Pause, Play, Redo2, RotateCcw } from "lucide-react";
import { Link, useLocation } from "wouter";

import type { Snapshot } from "../../client/snapshot.ts";
import { isEnd, progressOf, type TaskView } from "../../client/view.ts";
import { taskRemaining } from "../../client/remaining.ts";
import { Button } from "../../components/Button.tsx";
import { clock, counted, duration, remaining } from "../../components/format.ts";
import { plain } from "../../components/plain.ts";
import { ProgressBar } from "../../components/ProgressBar.tsx";
import { Status, toneOf } from "../../components/Status.tsx";
import { runAgain, runLike } from "../new/again.ts";
import { type Controls, reasonAgainst } from "./controls.ts";
import { DeleteButton } from "./DeleteButton.tsx";
import { ExportMenu } from "./ExportMenu.tsx";

interface HeaderProps {
  taskId: string;
  view: TaskView;
  now: number;
  controls: Controls;
  snapshot: Snapshot | undefined;
}

/** The task at one glance: what it is, how far, how long, what is wrong, what can be done. */
export function Header({ taskId, view, now, controls, snapshot }: HeaderProps) {
  const ended = isEnd(view.status);
  const delivered = view.agents.filter((agent) => agent.status === "completed").length;
  const left = taskRemaining(view, now);
  const elapsed = ended ? view.totalExecutionTime : view.startedAt === undefined ? undefined : now - view.startedAt;
  return (
    <section className="card task-head" data-tone={toneOf(view.status)} aria-label="Task">
      <div className="task-head-top">
        <h1>{plain(view.title)}</h1>
        <div className="task-head-state">
          <Status status={view.status} />
          <span className="numbers" title="Elapsed">
            {elapsed === undefined ? "–" : ended ? duration(elapsed) : clock(elapsed)}
          </span>
          {left !== undefined && <span className="muted numbers">{remaining(left)}</span>}
        </div>
      </div>
      {view.description !== "" && view.description !== view.title && <p className="description">{plain(view.description)}</p>}
      <ProgressBar
        value={progressOf(view)} label="Progress of the task" tone={toneOf(view.status)} still
      />
      <div className="row-between muted small">
        <span>{delivered} of {counted(view.agents.length, "agent")} delivered{why(view)}</span>
        <span className="numbers">{Math.round(progressOf(view) * 100)} %</span>
      </div>
      {view.error !== undefined && ended && (
        <p className="task-error" role={view.status === "cancelled" ? undefined : "alert"} data-tone={toneOf(view.status)}>
          <strong>{plain(view.error)}</strong>
          {view.code !== undefined && <code>{view.code}</code>}
          {view.notStopped !== undefined && view.notStopped.length > 0 && <span>Still running: {view.notStopped.join(", ")}</span>}
        </p>
      )}
      <Actions taskId={taskId} view={view} controls={controls} snapshot={snapshot} />
    </section>
  );
}

function Actions({ taskId, view, controls, snapshot }: Omit<HeaderProps, "now">) {
  const ended = isEnd(view.status);
  const [, navigate] = useLocation();
  const paused = view.status === "paused" || view.status === "pausing";
  const go = (to: string) => navigate(to);
  return (
    <div className="actions" role="group" aria-label="Actions">
      {ended && (
        <Link href={`/tasks/${taskId}/results`} className="button button-primary">
          <FileOutput size={16} aria-hidden="true" />View results
        </Link>
      )}
      {!ended && (paused ? <Button icon={Play} {...offered(controls.resume)}>Resume</Button> : <Button icon={Pause} {...offered(controls.pause)}>Pause</Button>)}
      {!ended && <Button icon={Ban} kind="danger" {...offered(controls.cancel)}>{view.status === "cancelling" ? "Cancelling…" : "Cancel"}</Button>}
      <Button icon={RotateCcw} {...offered(controls.retry)}>Retry failed</Button>
      {ended && <Button icon={Redo2} onClick={() => void runAgain(taskId, go)}>Run again</Button>}
      {ended && <Button icon={Copy} onClick={() => void runLike(taskId, go)}>Run like this</Button>}
      <ExportMenu taskId={taskId} />
      {ended && <DeleteButton taskId={taskId} title={plain(view.title)} seq={view.seq} reason={reasonAgainst("delete", view, snapshot)} />}
    </div>
  );
}

function offered({ act, reason, isBusy }: Controls["cancel"]) {
  return { onClick: act, reason, isBusy };
}

const REASONS: Record<string, string> = {
  recovered: "goes on after a restart", handed_back: "waits for a worker", worker_stopped: "waits: the worker is stopped",
  retry: "is tried again", question: "waits for an answer",
};

function why(view: TaskView): string {
  const reason = view.reason === undefined || isEnd(view.status) ? undefined : REASONS[view.reason];
  return reason === undefined ? "" : ` · ${reason}`;
}
