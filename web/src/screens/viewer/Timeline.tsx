import { useState } from "react";

import { type AgentView, isEnd, type TaskView } from "../../client/view.ts";
import { duration, timeOfDay } from "../../components/format.ts";
import { toneOf, wordOf } from "../../components/Status.tsx";

interface TimelineProps {
  view: TaskView;
  now: number;
  open: boolean;
  onToggle: (open: boolean) => void;
}

/** Who worked when, and who waited: hatched is waiting, solid is work. */
export function Timeline({ view, now, open, onToggle }: TimelineProps) {
  const [errorsOnly, setErrorsOnly] = useState(false);
  const from = view.createdAt ?? view.startedAt;
  const ended = isEnd(view.status);
  const until = Math.max(ended ? (view.endedAt ?? now) : now, (from ?? now) + 1000);
  const agents = errorsOnly ? view.agents.filter((agent) => agent.spans.some((span) => span.status === "error")) : view.agents;
  return (
    <details className="card timeline" open={open} onToggle={(event) => onToggle(event.currentTarget.open)}>
      <summary><h2>Time line</h2></summary>
      {from !== undefined && (
        <>
          <div className="timeline-tools small">
            <span className="legend"><i className="legend-queue" aria-hidden="true" />waiting</span>
            <span className="legend"><i className="legend-work" aria-hidden="true" />working</span>
            {view.startedAt !== undefined && <span className="muted">queued {duration(view.startedAt - from)}</span>}
            <label className="check"><input type="checkbox" checked={errorsOnly} onChange={(event) => setErrorsOnly(event.target.checked)} />Errors only</label>
          </div>
          <div className="chart" aria-hidden="true">
            {agents.map((agent) => <Row key={agent.role} agent={agent} from={from} until={until} ended={ended} />)}
            <Axis from={from} until={until} />
          </div>
          <FactTable agents={agents} from={from} now={until} />
        </>
      )}
    </details>
  );
}

function Row({ agent, from, until, ended }: { agent: AgentView; from: number; until: number; ended: boolean }) {
  const place = (at: number) => `${Math.min(100, Math.max(0, (100 * (at - from)) / (until - from)))}%`;
  const width = (start: number, end: number) => `max(3px, ${(100 * Math.max(0, end - start)) / (until - from)}%)`;
  const first = agent.spans[0]?.startedAt;
  return (
    <div className="chart-row">
      <span className="chart-name clip">{agent.name}</span>
      <div className="chart-track">
        {(first !== undefined || !ended) && (
          <i className="chart-queue" style={{ left: 0, width: width(from, first ?? until) }} title={`${agent.name} waited ${duration((first ?? until) - from)}`} />
        )}
        {agent.spans.map((span) => (
          <i
            key={`${span.attempt}-${span.startedAt}`} className="chart-span" data-tone={toneOf(span.status)}
            style={{ left: place(span.startedAt), width: width(span.startedAt, span.endedAt ?? until) }}
            title={`${agent.name}, attempt ${span.attempt}: ${wordOf(span.status)}, ${duration((span.endedAt ?? until) - span.startedAt)}`}
          />
        ))}
      </div>
    </div>
  );
}

function Axis({ from, until }: { from: number; until: number }) {
  return (
    <div className="chart-row chart-axis">
      <span className="chart-name" />
      <div className="chart-track">
        {[0, 0.25, 0.5, 0.75, 1].map((share) => (
          <span key={share} className="chart-tick numbers" data-edge={share === 0 ? "first" : share === 1 ? "last" : undefined} style={{ left: `${share * 100}%` }}>
            {duration(share * (until - from))}
          </span>
        ))}
      </div>
    </div>
  );
}

/** The same facts for those who cannot see the bars. */
function FactTable({ agents, from, now }: { agents: readonly AgentView[]; from: number; now: number }) {
  return (
    <div className="unseen"><table>
      <caption>Time line of the agents</caption>
      <thead><tr><th>Agent</th><th>Attempt</th><th>Waited before</th><th>Started</th><th>Worked</th><th>Result</th></tr></thead>
      <tbody>
        {agents.flatMap((agent) => agent.spans.map((span) => (
          <tr key={`${agent.role}-${span.attempt}-${span.startedAt}`}>
            <th scope="row">{agent.name}</th><td>{span.attempt}</td><td>{duration(span.startedAt - from)}</td>
            <td>{timeOfDay(span.startedAt)}</td><td>{duration((span.endedAt ?? now) - span.startedAt)}</td><td>{wordOf(span.status)}</td>
          </tr>
        )))}
      </tbody>
    </table></div>
  );
}
