import { Link } from "wouter";

import type { Snapshot } from "../client/snapshot.ts";
import { isEnd, time } from "../client/view.ts";
import { clock, counted, dayAndTime, duration } from "./format.ts";
import { plain } from "./plain.ts";
import { ProgressBar } from "./ProgressBar.tsx";
import { AgentDots, Status, toneOf } from "./Status.tsx";

/** A task that runs, on the dashboard: how far, how long. */
export function ActiveTask({ task, now }: { task: Snapshot; now: number }) {
  const delivered = task.agents.filter((agent) => agent.status === "completed").length;
  const started = time(task.startedAt) ?? time(task.createdAt) ?? now;
  return (
    <li className="card active-task" data-tone={toneOf(task.status)}>
      <div className="row-between">
        <Link href={`/tasks/${task.taskId}`} className="title-link">{plain(task.title)}</Link>
        <Status status={task.status} />
      </div>
      <ProgressBar value={task.progress} label={`Progress of ${plain(task.title)}`} tone={toneOf(task.status)} />
      <div className="row-between muted small">
        <span>{delivered} of {counted(task.agents.length, "agent")}</span>
        <span className="numbers">{clock(now - started)}</span>
      </div>
      {task.stuck && <p className="warning small">⚠ No news for some time; it may be stuck.</p>}
    </li>
  );
}

/** A task in a list, short. */
export function RecentTask({ task }: { task: Snapshot }) {
  return (
    <li className="recent-task">
      <Status status={task.status} />
      <Link href={`/tasks/${task.taskId}`} className="title-link">{plain(task.title)}</Link>
      <AgentDots agents={task.agents} />
      <span className="muted small numbers">
        {isEnd(task.status) ? duration(task.totalExecutionTime) : "–"}
      </span>
      <span className="muted small numbers">{dayAndTime(time(task.createdAt) ?? 0)}</span>
    </li>
  );
}
