import { ChevronDown, Paperclip } from "lucide-react";
import { lazy, memo, Suspense } from "react";

import { agentRemaining } from "../../client/remaining.ts";
import type { AgentView } from "../../client/view.ts";
import { clock, counted, duration, remaining } from "../../components/format.ts";
import { plain } from "../../components/plain.ts";
import { ProgressBar } from "../../components/ProgressBar.tsx";
import { Status, toneOf, wordOf } from "../../components/Status.tsx";
import { ArtifactLinks } from "./ArtifactLinks.tsx";

const LogPanel = lazy(() => import("../../components/LogPanel.tsx"));
const SHOWN_CHARACTERS = 700; // more than the lines that fit; long texts cost nothing while they grow

interface AgentCardProps {
  agent: AgentView;
  taskId: string;
  waitsFor: AgentView | undefined;
  now: number;
  logShown: boolean;
  onLog: (role: string | undefined) => void;
  linesFrom: number;
}

/** An agent at work. */
export const AgentCard = memo(function AgentCard({ agent, taskId, waitsFor, now, logShown, onLog, linesFrom }: AgentCardProps) {
  const tone = toneOf(agent.status);
  const active = agent.status === "running" || agent.status === "waiting";
  return (
    <li className="card agent-card" data-tone={tone} data-status={agent.status} data-agent={agent.role} data-log={logShown} tabIndex={-1} aria-label={`${agent.name}: ${wordOf(agent.status)}`}>
      <div className="row-between">
        <h3>{plain(agent.name)}</h3>
        <Status status={agent.status} />
      </div>
      <p className="agent-about muted small" title={agent.description}>{plain(agent.description)}</p>
      <ProgressBar value={agent.progress} label={`Progress of ${agent.name}`} tone={tone} still={!active} />
      <AgentText agent={agent} waitsFor={waitsFor} />
      <p className="agent-message small">{active && agent.message !== undefined ? plain(agent.message) : items(agent)}</p>
      <div className="agent-foot small">
        <Times agent={agent} now={now} />
        {agent.artifacts.length > 0 && (
          <span className="with-icon"><Paperclip size={14} aria-hidden="true" />{counted(agent.artifacts.length, "artifact")}</span>
        )}
        <button type="button" className="log-toggle" aria-expanded={logShown} onClick={() => onLog(logShown ? undefined : agent.role)}>
          Log<span className="unseen"> of {agent.name}</span>
          <ChevronDown size={14} aria-hidden="true" />
        </button>
      </div>
      {logShown && (
        <>
          <ArtifactLinks taskId={taskId} role={agent.role} artifacts={agent.artifacts} />
          {linesFrom > 0 && <p className="muted small">Lines before number {linesFrom} are in the export.</p>}
          <Suspense fallback={null}><LogPanel lines={agent.log} name={`${agent.role}-${taskId.slice(-8)}.log`} label={`Log of ${agent.name}`} /></Suspense>
        </>
      )}
    </li>
  );
});

/** The error's first line, the end of a text that grows, or the beginning of one that is whole. */
function AgentText({ agent, waitsFor }: Pick<AgentCardProps, "agent" | "waitsFor">) {
  if (agent.error !== undefined && agent.status !== "running" && agent.status !== "completed") {
    return (
      <div className="agent-text agent-failure" data-tone={agent.willRetry ? "paused" : toneOf(agent.status)}>
        <p><strong>{plain(agent.error.split("\n")[0] ?? "")}</strong></p>
        <p className="muted small"><code>{agent.code}</code>{agent.willRetry && " · will be tried again"}</p>
      </div>
    );
  }
  if (agent.content === "" && agent.output !== undefined) {
    return <pre className="agent-text agent-result muted" tabIndex={-1}>{plain(JSON.stringify(agent.output, null, 1).slice(0, SHOWN_CHARACTERS))}</pre>;
  }
  if (agent.content === "") {
    return <p className="agent-text muted">{agent.status === "pending" && waitsFor !== undefined && waitsFor.status !== "completed" ? `Waits for ${waitsFor.name}` : ""}</p>;
  }
  const growing = agent.status === "running";
  const text = growing ? agent.content.slice(-SHOWN_CHARACTERS) : agent.content.slice(0, SHOWN_CHARACTERS);
  return (
    <div className="agent-text" data-growing={growing}>
      <p dir="auto">{plain(text)}{growing && <span className="caret" aria-hidden="true" />}</p>
    </div>
  );
}

function Times({ agent, now }: { agent: AgentView; now: number }) {
  const running = agent.status === "running" && agent.startedAt !== undefined;
  const left = running ? agentRemaining(agent, now) : undefined;
  return (
    <span className="agent-times muted numbers">
      {running ? clock(now - (agent.startedAt ?? now)) : agent.executionTime === undefined ? "–" : duration(agent.executionTime)}
      {left !== undefined && ` · ${remaining(left)}`}
      {agent.attempt > 1 && ` · attempt ${agent.attempt}`}
    </span>
  );
}

function items({ itemsDone, itemsTotal, itemsFailed }: AgentView): string {
  if (itemsDone === undefined) return "";
  const failed = itemsFailed === undefined || itemsFailed === 0 ? "" : `, ${itemsFailed} failed`;
  return `${itemsDone}${itemsTotal === undefined ? "" : ` of ${itemsTotal}`} items${failed}`;
}
