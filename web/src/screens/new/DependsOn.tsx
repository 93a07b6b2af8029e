import type { ListedAgent } from "../../client/snapshot.ts";

/** Who has to have delivered before one starts: a row per agent, a switch per other agent. */
export function DependsOn({ agents, selected, value, onChange, error }: {
  agents: readonly ListedAgent[];
  selected: readonly string[];
  value: Readonly<Record<string, readonly string[]>>;
  onChange: (value: Record<string, readonly string[]>) => void;
  error: string | undefined;
}) {
  const nameOf = (role: string) => agents.find((agent) => agent.agentRole === role)?.agentName ?? role;
  const toggle = (role: string, other: string) => {
    const before = value[role] ?? [];
    const after = before.includes(other) ? before.filter((one) => one !== other) : [...before, other];
    onChange({ ...value, [role]: after });
  };
  return (
    <fieldset className="depends" aria-describedby={error === undefined ? undefined : "depends-error"}>
      <legend>Starts after</legend>
      {error !== undefined && <p id="depends-error" className="field-error">{error}</p>}
      {selected.length < 2 && <p className="muted small">Select two agents or more.</p>}
      <ul>
        {selected.length > 1 && selected.map((role) => (
          <li key={role}>
            <span className="depends-name clip">{nameOf(role)}</span>
            <span className="depends-others">
              {selected.filter((other) => other !== role).map((other) => (
                <button
                  key={other} type="button" className="chip" aria-pressed={value[role]?.includes(other) ?? false}
                  aria-label={`${nameOf(role)} starts after ${nameOf(other)}`} onClick={() => toggle(role, other)}
                >
                  {nameOf(other)}
                </button>
              ))}
            </span>
          </li>
        ))}
      </ul>
    </fieldset>
  );
}
