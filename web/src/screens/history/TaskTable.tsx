import { Copy, Redo2, RotateCcw } from "lucide-react";
import { Link, useLocation } from "wouter";

import { toast } from "../../app/announce.ts";
import { refresh } from "../../app/queries.ts";
import { api } from "../../app/tasks.ts";
import type { Snapshot } from "../../client/snapshot.ts";
import { isEnd, time } from "../../client/view.ts";
import { IconButton } from "../../components/Button.tsx";
import { dayAndTime, duration } from "../../components/format.ts";
import { plain } from "../../components/plain.ts";
import { AgentDots, Status, toneOf } from "../../components/Status.tsx";
import { runAgain, runLike } from "../new/again.ts";

/** Tasks as a table; on a phone as cards. */
export function TaskTable({ tasks }: { tasks: readonly Snapshot[] }) {
  const longest = Math.max(1, ...tasks.map((task) => task.activeTime));
  return (
    <div className="card table-box">
      <table className="tasks">
        <caption className="unseen">Tasks, newest first</caption>
        <thead>
          <tr><th>Status</th><th>Task</th><th>Agents</th><th>Created</th><th>Duration</th><th><span className="unseen">Actions</span></th></tr>
        </thead>
        <tbody>{tasks.map((task) => <Row key={task.taskId} task={task} longest={longest} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ task, longest }: { task: Snapshot; longest: number }) {
  const [, navigate] = useLocation();
  const go = (to: string) => navigate(to);
  const retry = task.actions.retry;
  const name = plain(task.title);
  return (
    <tr data-tone={toneOf(task.status)}>
      <td><Status status={task.status} /></td>
      <td className="task-name">
        <Link href={`/tasks/${task.taskId}`} className="title-link">{name}</Link>
        {task.error !== undefined && <span className="task-why small clip">{plain(task.error.split("\n")[0] ?? "")}</span>}
        {task.stuck && <span className="warning small">⚠ may be stuck</span>}
      </td>
      <td><AgentDots agents={task.agents} /></td>
      <td className="numbers muted">{dayAndTime(time(task.createdAt) ?? 0)}</td>
      <td className="numbers">
        {isEnd(task.status) ? duration(task.totalExecutionTime) : "–"}
        <span className="duration-bar" aria-hidden="true"><i style={{ inlineSize: `${(100 * task.activeTime) / longest}%` }} /></span>
      </td>
      <td className="row-actions">
        {retry?.allowed === true && <IconButton icon={RotateCcw} label={`Retry what failed of ${name}`} onClick={() => void again(task)} />}
        <IconButton icon={Redo2} label={`Run ${name} again`} onClick={() => void runAgain(task.taskId, go)} />
        <IconButton icon={Copy} label={`Run like ${name}`} onClick={() => void runLike(task.taskId, go)} />
      </td>
    </tr>
  );
}

async function again(task: Snapshot): Promise<void> {
  try {
    await api.control(task.taskId, "retry", task.lastEventId);
    toast(`Tried again: ${task.title}`, "info", `/tasks/${task.taskId}`);
  } catch (error) {
    toast(error instanceof Error ? error.message : String(error), "error");
  }
  refresh(task.taskId);
}
