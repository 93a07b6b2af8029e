import { ArrowDown, ArrowUp, GripVertical } from "lucide-react";
import { useLayoutEffect, useRef, useState } from "react";

import { announce } from "../../app/announce.ts";
import type { ListedAgent } from "../../client/snapshot.ts";
import { IconButton } from "../../components/Button.tsx";

/** Agents as cards: select, and put the selected in order, by drag or by keyboard. */
export function AgentPicker({ agents, selected, onChange, error }: {
  agents: readonly ListedAgent[];
  selected: readonly string[];
  onChange: (roles: readonly string[]) => void;
  error: string | undefined;
}) {
  const [dragged, setDragged] = useState<string>();
  const list = useRef<HTMLUListElement>(null);
  const known = new Map(agents.map((agent) => [agent.agentRole, agent]));
  const chosen = selected.filter((role) => known.get(role)?.available);
  const others = agents.filter((agent) => !chosen.includes(agent.agentRole));
  const moved = useRef<string>(undefined);
  useLayoutEffect(() => {
    if (moved.current === undefined) return;
    // A card that changed its place takes the focus along, before the next key comes.
    list.current?.querySelector<HTMLElement>(`[data-role="${CSS.escape(moved.current)}"] input`)?.focus();
    moved.current = undefined;
  });
  const toggle = (role: string) => {
    moved.current = role;
    onChange(chosen.includes(role) ? chosen.filter((other) => other !== role) : [...chosen, role]);
  };
  const move = (role: string, to: number) => {
    const from = chosen.indexOf(role);
    if (from < 0 || to < 0 || to >= chosen.length || from === to) return;
    const next = chosen.filter((other) => other !== role);
    next.splice(to, 0, role);
    moved.current = role;
    onChange(next);
    announce(`${known.get(role)?.agentName} is now number ${to + 1} of ${chosen.length}`);
  };
  return (
    <fieldset className="agents" aria-describedby={error === undefined ? "agents-hint" : "agents-hint agents-error"}>
      <legend>Agents</legend>
      <p id="agents-hint" className="muted small">Selected ones work in this order. Drag them, or use Alt with the arrow keys.</p>
      {error !== undefined && <p id="agents-error" className="field-error">{error}</p>}
      <ul ref={list} className="agent-choices">
        {chosen.map((role, index) => {
          const agent = known.get(role);
          return agent === undefined ? null : (
            <li
              key={role} data-role={role} className="agent-choice" data-selected="true" data-dragged={dragged === role} draggable
              onDragStart={(event) => {
                event.dataTransfer.effectAllowed = "move";
                setDragged(role);
              }}
              onDragEnd={() => setDragged(undefined)}
              onDragOver={(event) => {
                event.preventDefault();
                if (dragged !== undefined && dragged !== role) move(dragged, index);
              }}
              onDrop={(event) => event.preventDefault()}
              onKeyDown={(event) => {
                const step = event.altKey ? { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key] : undefined;
                if (step === undefined) return;
                event.preventDefault();
                move(role, index + step);
              }}
            >
              <GripVertical size={16} className="grip" aria-hidden="true" />
              <Choice agent={agent} number={index + 1} checked onToggle={() => toggle(role)} />
              <span className="choice-moves">
                <IconButton icon={ArrowUp} label={`Move ${agent.agentName} up`} reason={index === 0 ? "It is the first" : undefined} onClick={() => move(role, index - 1)} />
                <IconButton icon={ArrowDown} label={`Move ${agent.agentName} down`} reason={index === chosen.length - 1 ? "It is the last" : undefined} onClick={() => move(role, index + 1)} />
              </span>
            </li>
          );
        })}
        {others.map((agent) => (
          <li key={agent.agentRole} data-role={agent.agentRole} className="agent-choice" data-available={agent.available}>
            <Choice agent={agent} checked={false} onToggle={() => toggle(agent.agentRole)} />
          </li>
        ))}
      </ul>
    </fieldset>
  );
}

function Choice({ agent, number, checked, onToggle }: { agent: ListedAgent; number?: number; checked: boolean; onToggle: () => void }) {
  const id = `agent-${agent.agentRole}`;
  return (
    <label className="choice" htmlFor={id}>
      <input id={id} type="checkbox" checked={checked} disabled={!agent.available} onChange={onToggle} aria-labelledby={`${id}-name`} aria-describedby={`${id}-about`} />
      <span className="choice-text">
        <span className="choice-name">
          {number !== undefined && <span className="choice-number">{number}</span>}
          <span id={`${id}-name`}>{agent.agentName}</span>
          <span className="tag">{agent.kind}</span>
        </span>
        <span id={`${id}-about`} className="muted small">
          {agent.agentDescription}
          {!agent.available && <span className="warning">{` Not available: ${agent.unavailableReason ?? "it cannot be used here"}`}</span>}
        </span>
      </span>
    </label>
  );
}
