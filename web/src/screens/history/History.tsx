import { ChevronLeft, ChevronRight, Inbox, SearchX } from "lucide-react";
import { Link } from "wouter";

import { useTasks } from "../../app/queries.ts";
import { Button } from "../../components/Button.tsx";
import { Empty, Failure, Loading } from "../../components/Notes.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { FilterBar } from "./FilterBar.tsx";
import { toQuery, useFilters } from "./filters.ts";
import { Statistics } from "./Statistics.tsx";
import { TaskTable } from "./TaskTable.tsx";

import "../../styles/history.css";

const PAGE = 25;

/** Everything that ran, as the address asks for it. */
export default function History() {
  useTitle("History");
  const [filters, change] = useFilters();
  const list = useTasks({ ...toQuery(filters), limit: PAGE });
  const tasks = list.data?.tasks ?? [];
  const filtered = Object.values(filters).some((value) => value !== "");
  return (
    <div className="screen">
      <h1>History</h1>
      <Statistics />
      <section aria-label="Tasks">
        <FilterBar filters={filters} change={change} />
        {list.isPending ? <Loading lines={6} /> : list.isError && list.data === undefined ? (
          <Failure error={list.error} onRetry={() => void list.refetch()} />
        ) : tasks.length === 0 ? (
          filtered ? <Empty icon={SearchX} title="No task fits." /> : (
            <Empty icon={Inbox} title="Nothing has run yet."><Link href="/new" className="button button-primary">New task</Link></Empty>
          )
        ) : <TaskTable tasks={tasks} />}
        <nav className="pager" aria-label="Pages">
          <Button icon={ChevronLeft} reason={filters.cursor === "" ? "This is the newest page" : undefined} onClick={() => change({ cursor: "" })}>Newest</Button>
          <Button reason={list.data?.nextCursor === undefined ? "There are no older ones" : undefined} onClick={() => change({ cursor: list.data?.nextCursor ?? "" })}>
            Older<ChevronRight size={16} aria-hidden="true" />
          </Button>
        </nav>
      </section>
    </div>
  );
}
