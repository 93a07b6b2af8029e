import type { TaskView } from "../../client/view.ts";
import { AgentCard } from "./AgentCard.tsx";

interface AgentGridProps {
  view: TaskView;
  now: number;
  openLog: string | undefined;
  setOpenLog: (role: string | undefined) => void;
  linesFrom: number;
}

/** A card per agent: one column on a phone, two on a desk. */
export function AgentGrid({ view, now, openLog, setOpenLog, linesFrom }: AgentGridProps) {
  return (
    <section aria-labelledby="agents-heading">
      <h2 id="agents-heading" className="unseen">Agents</h2>
      <ul className="agent-grid">
        {view.agents.map((agent, index) => (
          <AgentCard
            key={agent.role} agent={agent} taskId={view.taskId} linesFrom={linesFrom}
            waitsFor={view.mode === "sequential" && view.status !== "paused" ? view.agents[index - 1] : undefined}
            // A card that shows no running time need not hear of the time.
            now={agent.status === "running" ? now : 0}
            logShown={openLog === agent.role} onLog={setOpenLog}
          />
        ))}
      </ul>
    </section>
  );
}
