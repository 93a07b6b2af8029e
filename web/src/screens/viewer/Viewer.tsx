import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";

import { BASE_PATH } from "../../app/config.ts";
import { useHotkeys } from "../../app/hotkeys.ts";
import { useLeaveGuard } from "../../app/navigation.ts";
import { useSnapshot } from "../../app/queries.ts";
import { tasks, useFollowed, useKeepFollowing } from "../../app/tasks.ts";
import type { Followed } from "../../client/follower.ts";
import { Problem } from "../../client/problem.ts";
import type { Snapshot } from "../../client/snapshot.ts";
import { isEnd, progressOf } from "../../client/view.ts";
import { Empty, Failure, Loading } from "../../components/Notes.tsx";
import { wordOf } from "../../components/Status.tsx";
import { useNow } from "../../components/useNow.ts";
import { useTitle } from "../../components/useTitle.ts";
import { AgentGrid } from "./AgentGrid.tsx";
import { useControls } from "./controls.ts";
import { Header } from "./Header.tsx";
import { LinkBanner } from "./LinkBanner.tsx";
import { Questions } from "./Questions.tsx";
import { Timeline } from "./Timeline.tsx";
import { useAnnouncements } from "./useAnnouncements.ts";

import { FileQuestion } from "lucide-react";

/** One task, as it happens. */
export function Viewer({ taskId }: { taskId: string }) {
  const query = useSnapshot(taskId);
  const all = useFollowed();
  const followed = tasks.follower?.taskId === taskId ? all : undefined;
  useKeepFollowing(taskId);
  useFollow(taskId, query.data, followed !== undefined);
  if (query.error instanceof Problem && query.error.status === 404) {
    return <div className="screen"><h1>Task</h1><Empty icon={FileQuestion} title="There is no such task, or it is somebody else's." /></div>;
  }
  if (followed !== undefined && (followed.view.seq > 0 || followed.view.title !== "")) {
    return <Task taskId={taskId} followed={followed} snapshot={query.data} ask={() => void query.refetch()} />;
  }
  return (
    <div className="screen">
      <h1>Task</h1>
      {query.isError ? <Failure error={query.error} onRetry={() => void query.refetch()} /> : <Loading lines={8} />}
    </div>
  );
}

/** Follow the task unless it is followed already, e.g. since its POST. */
function useFollow(taskId: string, snapshot: Snapshot | undefined, isFollowed: boolean): void {
  useEffect(() => {
    if (!isFollowed && snapshot !== undefined && snapshot.taskId === taskId) tasks.follow(snapshot);
  }, [taskId, snapshot, isFollowed]);
}

function Task({ taskId, followed, snapshot, ask }: { taskId: string; followed: Followed; snapshot: Snapshot | undefined; ask: () => void }) {
  const { view, link, clock } = followed;
  const ended = isEnd(view.status);
  const now = useNow(!ended) + clock;
  const [, navigate] = useLocation();
  const [openLog, setOpenLog] = useState<string>();
  const [timelineShown, showTimeline] = useState(true);
  const controls = useControls(taskId, view, snapshot, ask);
  const path = `/tasks/${taskId}`;
  useLeaveGuard(!ended && link.state !== "refused", (to) => to === path || to.startsWith(`${BASE_PATH}${path}`) || to.startsWith(`${path}/`));
  useTitle(title(view.title, view.status, progressOf(view)));
  useAnnouncements(view);
  useAskAgain(view.status, link.state, ask);
  useHotkeys({
    p: controls.pause.reason === undefined ? controls.pause.act : controls.resume.act,
    c: controls.cancel.act,
    r: controls.retry.act,
    v: ended ? () => navigate(`${path}/results`) : undefined,
    t: () => showTimeline((shown) => !shown),
    j: () => focusCard(1),
    k: () => focusCard(-1),
    l: () => {
      const role = document.activeElement?.closest<HTMLElement>("[data-agent]")?.dataset.agent ?? view.agents[0]?.role;
      setOpenLog((open) => (open === role ? undefined : role));
    },
  });
  return (
    <div className="screen viewer">
      <Header taskId={taskId} view={view} now={now} controls={controls} snapshot={snapshot} />
      <LinkBanner followed={followed} stuck={snapshot?.stuck ?? false} cancel={controls.cancel} />
      <Questions taskId={taskId} view={view} snapshot={snapshot} />
      <AgentGrid view={view} now={now} openLog={openLog} setOpenLog={setOpenLog} linesFrom={followed.linesFrom} />
      <Timeline view={view} now={now} open={timelineShown} onToggle={showTimeline} />
      {followed.unreadable > 0 && <p className="muted small">{followed.unreadable} messages of the server could not be read and were skipped.</p>}
      {controls.dialog}
    </div>
  );
}

/** What may be done changes with the state: ask the server, which alone knows. */
function useAskAgain(status: string, link: string, ask: () => void): void {
  const before = useRef({ status, link });
  useEffect(() => {
    const last = before.current;
    before.current = { status, link };
    if (last.status !== status || (last.link !== link && link === "ended")) ask();
  });
}

function title(name: string, status: Parameters<typeof wordOf>[0], progress: number): string {
  if (status === "completed") return `✓ done – ${name}`;
  if (isEnd(status as never)) return `✕ ${wordOf(status).toLowerCase()} – ${name}`;
  return status === "running" && progress > 0 ? `${Math.round(progress * 100)} % – ${name}` : name;
}

function focusCard(step: number): void {
  const cards = [...document.querySelectorAll<HTMLElement>("[data-agent]")];
  const at = cards.findIndex((card) => card.contains(document.activeElement));
  cards[at < 0 ? 0 : (at + step + cards.length) % cards.length]?.focus();
}
