import type { AgentStatus, TaskStatus } from "../client/wire.ts";

type AnyStatus = AgentStatus | TaskStatus;

const SIGNS: Record<AnyStatus, [sign: string, word: string, tone: string]> = {
  pending: ["○", "Pending", "pending"],
  queued: ["○", "Queued", "pending"],
  running: ["◐", "Running", "running"],
  pausing: ["‖", "Pausing", "paused"],
  paused: ["‖", "Paused", "paused"],
  waiting: ["?", "Waiting", "paused"],
  cancelling: ["⊘", "Cancelling", "cancelled"],
  completed: ["✓", "Completed", "completed"],
  failed: ["✕", "Failed", "error"],
  error: ["✕", "Error", "error"],
  timed_out: ["✕", "Timed out", "error"],
  cancelled: ["⊘", "Cancelled", "cancelled"],
  skipped: ["–", "Skipped", "pending"],
};

/** The word for a status. */
export const wordOf = (status: AnyStatus): string => SIGNS[status]?.[1] ?? status;

/** The name of a status's colour. */
export const toneOf = (status: AnyStatus): string => SIGNS[status]?.[2] ?? "pending";

/** A status: sign, word and colour, so that none of them has to be seen. */
export function Status({ status }: { status: AnyStatus }) {
  const [sign, word, tone] = SIGNS[status] ?? ["·", status, "pending"];
  return (
    <span className="status" data-tone={tone} data-status={status}>
      <span className="status-sign" aria-hidden="true">{sign}</span>
      {word}
    </span>
  );
}

/** A status where there is little room: the sign, and the word for those who point or listen. */
export function StatusSign({ status }: { status: AnyStatus }) {
  const [sign, word, tone] = SIGNS[status] ?? ["·", status, "pending"];
  return (
    <span className="status status-plain" data-tone={tone} title={word}>
      <span className="status-sign" aria-hidden="true">{sign}</span>
      <span className="unseen">{word}</span>
    </span>
  );
}

/** Agents as a row of signs; each says who and how. */
export function AgentDots({ agents }: { agents: readonly { agentRole: string; agentName: string; status: AgentStatus }[] }) {
  return (
    <ul className="dots" aria-label="Agents">
      {agents.map((agent) => (
        <li key={agent.agentRole} data-tone={toneOf(agent.status)} title={`${agent.agentName}: ${wordOf(agent.status)}`}>
          <span aria-hidden="true">{SIGNS[agent.status]?.[0]}</span>
          <span className="unseen">{`${agent.agentName}: ${wordOf(agent.status)}`}</span>
        </li>
      ))}
    </ul>
  );
}
