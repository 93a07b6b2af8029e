import { X } from "lucide-react";
import { useEffect, useState } from "react";

import { useTeam } from "../../app/queries.ts";
import { isAdmin, session } from "../../app/session.ts";
import { useStore } from "../../app/store.ts";
import { TASK_STATUSES } from "../../client/wire.ts";
import { Button } from "../../components/Button.tsx";
import { wordOf } from "../../components/Status.tsx";
import type { Filters } from "./filters.ts";

/** Which tasks are listed. */
export function FilterBar({ filters, change }: { filters: Filters; change: (change: Partial<Filters>) => void }) {
  const team = useTeam();
  const admin = isAdmin(useStore(session));
  const set = (name: keyof Filters) => (event: { target: { value: string } }) => change({ [name]: event.target.value });
  const some = Object.entries(filters).some(([name, value]) => name !== "cursor" && value !== "");
  return (
    <form className="filters" role="search" aria-label="Filter tasks" onSubmit={(event) => event.preventDefault()}>
      <SearchBox value={filters.q} onChange={(q) => change({ q })} />
      <select aria-label="Status" value={filters.status} onChange={set("status")}>
        <option value="">Every status</option>
        <option value="queued,running,pausing,paused,waiting,cancelling">Active</option>
        {TASK_STATUSES.map((status) => <option key={status} value={status}>{wordOf(status)}</option>)}
      </select>
      <select aria-label="Agent" value={filters.agent} onChange={set("agent")}>
        <option value="">Every agent</option>
        {team.data?.agents.map((agent) => <option key={agent.agentRole} value={agent.agentRole}>{agent.agentName}</option>)}
      </select>
      <select aria-label="Whose" value={filters.scope} onChange={set("scope")}>
        <option value="">Mine</option>
        <option value="shared">Shared with me</option>
        {admin && <option value="all">Everybody's</option>}
      </select>
      <label className="filter-date">From<input type="date" value={filters.from} max={filters.to} onChange={set("from")} /></label>
      <label className="filter-date">To<input type="date" value={filters.to} min={filters.from} onChange={set("to")} /></label>
      <label className="check small"><input type="checkbox" checked={filters.stuck !== ""} onChange={(event) => change({ stuck: event.target.checked ? "true" : "" })} />Stuck</label>
      <label className="check small"><input type="checkbox" checked={filters.archived !== ""} onChange={(event) => change({ archived: event.target.checked ? "true" : "" })} />Archived</label>
      {some && <Button kind="quiet" icon={X} onClick={() => change({ q: "", status: "", agent: "", from: "", to: "", stuck: "", scope: "", archived: "" })}>Clear</Button>}
    </form>
  );
}

/** Asks a moment after the last key, not for every letter. */
function SearchBox({ value, onChange }: { value: string; onChange: (value: string) => void }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => onChange(text), 300);
    return () => clearTimeout(timer);
  });
  return <input type="search" aria-label="Search in titles and descriptions" placeholder="Search" value={text} onChange={(event) => setText(event.target.value)} />;
}
