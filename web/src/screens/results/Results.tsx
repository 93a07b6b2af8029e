import { ArrowLeft, Check, Copy, FileQuestion } from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";
import { Link, useSearchParams } from "wouter";

import { announce, toast } from "../../app/announce.ts";
import { useSnapshot } from "../../app/queries.ts";
import { Problem } from "../../client/problem.ts";
import type { AgentSnapshot, Snapshot } from "../../client/snapshot.ts";
import { isEnd } from "../../client/view.ts";
import { IconButton } from "../../components/Button.tsx";
import { duration } from "../../components/format.ts";
import { Empty, Failure, Loading } from "../../components/Notes.tsx";
import { plain } from "../../components/plain.ts";
import { copy } from "../../components/save.ts";
import { Status, StatusSign } from "../../components/Status.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { ExportMenu } from "../viewer/ExportMenu.tsx";
import { Artifacts } from "./Artifacts.tsx";

import "../../styles/results.css";

const MAX_MARKDOWN = 200_000; // characters; more is shown as it was written until somebody asks

const Markdown = lazy(() => import("../../components/Markdown.tsx"));

/** What a task has brought: every agent's output, and the files. */
export default function Results({ taskId }: { taskId: string }) {
  const query = useSnapshot(taskId);
  const task = query.data;
  useTitle(task === undefined ? "Results" : `Results – ${task.title}`);
  if (query.error instanceof Problem && query.error.status === 404) {
    return <div className="screen"><h1>Results</h1><Empty icon={FileQuestion} title="There is no such task, or it is somebody else's." /></div>;
  }
  return (
    <div className="screen results">
      <Link href={`/tasks/${taskId}`} className="back"><ArrowLeft size={16} aria-hidden="true" />The task</Link>
      {task === undefined ? (
        <>
          <h1>Results</h1>
          {query.isError ? <Failure error={query.error} onRetry={() => void query.refetch()} /> : <Loading lines={6} />}
        </>
      ) : (
        <>
          <div className="screen-head">
            <div className="results-title"><h1>{plain(task.title)}</h1><Status status={task.status} /><span className="muted numbers">{duration(task.totalExecutionTime)}</span></div>
            <ExportMenu taskId={taskId} />
          </div>
          {!isEnd(task.status) && <p className="banner" data-tone="warning">The task has not ended; this is what there is so far.</p>}
          {task.error !== undefined && <p className="banner" data-tone="error">{plain(task.error)}</p>}
          <div className="results-columns">
            <Outputs task={task} />
            <Artifacts task={task} />
          </div>
        </>
      )}
    </div>
  );
}

/** A tab per agent; first the one that delivered last. */
function Outputs({ task }: { task: Snapshot }) {
  const [search, setSearch] = useSearchParams();
  const wanted = search.get("agent");
  const last = [...task.agents].reverse().find((agent) => agent.status === "completed") ?? task.agents[0];
  const shown = task.agents.find((agent) => agent.agentRole === wanted) ?? last;
  const show = (role: string) => setSearch({ agent: role }, { replace: true });
  const step = (by: number) => {
    const at = task.agents.findIndex((agent) => agent === shown);
    const next = task.agents[(at + by + task.agents.length) % task.agents.length];
    if (next === undefined) return;
    show(next.agentRole);
    document.getElementById(`tab-${next.agentRole}`)?.focus();
  };
  const tab = shown === undefined ? "" : `tab-${shown.agentRole}`;
  useEffect(() => {
    document.getElementById(tab)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [tab]);
  if (shown === undefined) return <Empty icon={FileQuestion} title="Nobody has worked on it." />;
  return (
    <section className="card output" aria-label="Outputs">
      <div
        role="tablist" aria-label="Agents" className="tabs"
        onKeyDown={(event) => {
          if (event.key === "ArrowRight") step(1);
          if (event.key === "ArrowLeft") step(-1);
        }}
      >
        {task.agents.map((agent) => (
          <button
            key={agent.agentRole} id={`tab-${agent.agentRole}`} type="button" role="tab" aria-selected={agent === shown} aria-controls="output"
            tabIndex={agent === shown ? 0 : -1} onClick={() => show(agent.agentRole)}
          >
            <StatusSign status={agent.status} />{agent.agentName}
          </button>
        ))}
      </div>
      <div id="output" role="tabpanel" aria-labelledby={`tab-${shown.agentRole}`} tabIndex={0} className="output-body">
        <Output agent={shown} key={shown.agentRole} />
      </div>
    </section>
  );
}

function Output({ agent }: { agent: AgentSnapshot }) {
  const text = agent.content ?? "";
  const [source, setSource] = useState(text.length > MAX_MARKDOWN);
  const [copied, setCopied] = useState(false);
  const copyText = async () => {
    if (!(await copy(text))) return toast("The browser does not let this page copy.", "error");
    setCopied(true);
    announce("Copied");
  };
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <>
      <div className="row-between">
        <h2>{agent.agentName}</h2>
        <div className="actions">
          {text !== "" && <label className="check small"><input type="checkbox" checked={source} onChange={(event) => setSource(event.target.checked)} />As it was written</label>}
          {text !== "" && <IconButton icon={copied ? Check : Copy} label="Copy the output" onClick={() => void copyText()} />}
        </div>
      </div>
      {agent.error !== undefined && agent.status !== "completed" && (
        <div className="agent-failure" data-tone="error"><p><strong>{plain(agent.error)}</strong></p><p><code>{agent.code}</code></p></div>
      )}
      {text === "" && agent.output === undefined && agent.error === undefined && <p className="muted">No text.</p>}
      {text !== "" && (source ? <pre className="source" dir="auto" tabIndex={0}>{plain(text)}</pre> : <Suspense fallback={<Loading />}><Markdown text={text} /></Suspense>)}
      {agent.output !== undefined && (
        <>
          <h3>Result</h3>
          <pre className="source" tabIndex={0}>{plain(JSON.stringify(agent.output, null, 2))}</pre>
        </>
      )}
    </>
  );
}
