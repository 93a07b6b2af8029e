import { Rocket } from "lucide-react";
import { useEffect } from "react";
import { Link } from "wouter";

import { useActiveTasks, useTasks } from "../../app/queries.ts";
import { tasks } from "../../app/tasks.ts";
import { Empty, Failure, Loading } from "../../components/Notes.tsx";
import { ActiveTask, RecentTask } from "../../components/TaskRow.tsx";
import { useNow } from "../../components/useNow.ts";
import { useTitle } from "../../components/useTitle.ts";
import { QuickTask } from "./QuickTask.tsx";

const RECENT = 10;

/** What runs now, first; then what ran. */
export function Dashboard() {
  useTitle("Dashboard");
  const active = useActiveTasks();
  const recent = useTasks({ limit: RECENT });
  const running = active.data ?? [];
  const now = useNow(running.length > 0);
  const pending = tasks.pendingTask();
  useEffect(() => tasks.leave(), []); // no stream here: the lists ask
  const ended = recent.data?.tasks.filter((task) => !running.some((other) => other.taskId === task.taskId)) ?? [];
  return (
    <div className="screen">
      <h1>Dashboard</h1>
      {pending !== undefined && (
        <p className="banner" data-tone="warning">
          “{pending.request.title ?? pending.request.description.slice(0, 60)}” was sent and not answered.
          <Link href="/new?pending=1">Look what became of it</Link>
        </p>
      )}
      <section aria-labelledby="active">
        <h2 id="active">Active</h2>
        {active.isPending ? <Loading lines={2} /> : active.isError && running.length === 0 ? (
          <Failure error={active.error} onRetry={() => void active.refetch()} />
        ) : running.length === 0 ? (
          <Empty icon={Rocket} title="Nothing runs at the moment." />
        ) : (
          <ul className="active-tasks">{running.map((task) => <ActiveTask key={task.taskId} task={task} now={now} />)}</ul>
        )}
      </section>
      <QuickTask />
      <section aria-labelledby="recent">
        <div className="row-between">
          <h2 id="recent">Recent</h2>
          <Link href="/history">All of them</Link>
        </div>
        {recent.isPending ? <Loading /> : recent.isError && recent.data === undefined ? (
          <p className="muted">The list cannot be read now.</p>
        ) : ended.length === 0 ? (
          <p className="muted">Tasks that ended stand here.</p>
        ) : (
          <ul className="card list">{ended.map((task) => <RecentTask key={task.taskId} task={task} />)}</ul>
        )}
      </section>
    </div>
  );
}
