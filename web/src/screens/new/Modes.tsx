import type { Team } from "../../client/snapshot.ts";
import { Field } from "../../components/Field.tsx";
import { DependsOn } from "./DependsOn.tsx";
import type { FieldErrors, TaskDraft } from "./draft.ts";

const MODES = {
  sequential: ["One after another", "Each is given what those before it delivered."],
  parallel: ["At once", "All start together; one that fails stops no other."],
  graph: ["As a graph", "Each starts when those it depends on have delivered."],
} as const;

/** How the agents work together, and with which provider. */
export function Modes({ draft, team, errors, change }: { draft: TaskDraft; team: Team; errors: FieldErrors; change: (change: Partial<TaskDraft>) => void }) {
  return (
    <>
      <fieldset className="modes">
        <legend>Mode</legend>
        {team.executionModes.map((mode) => (
          <label key={mode} className="mode" data-selected={draft.mode === mode}>
            <input type="radio" name="mode" checked={draft.mode === mode} onChange={() => change({ mode })} />
            <span><strong>{MODES[mode][0]}</strong><span className="muted small">{MODES[mode][1]}</span></span>
          </label>
        ))}
        {errors.mode !== undefined && <p className="field-error">{errors.mode}</p>}
      </fieldset>
      {draft.mode === "graph" && (
        <DependsOn
          agents={team.agents} selected={draft.agents} value={draft.dependsOn} error={errors.dependsOn}
          onChange={(dependsOn) => change({ dependsOn })}
        />
      )}
      {team.providers.length > 0 && (
        <Field label="Provider" error={errors.provider} hint="For agents that use a language model.">
          {(props) => (
            <select {...props} name="provider" value={draft.provider} onChange={(event) => change({ provider: event.target.value })}>
              <option value="">As each agent says</option>
              {team.providers.map((provider) => (
                <option key={provider.name} value={provider.name} disabled={!provider.available}>
                  {provider.name}{provider.available ? "" : ` – ${provider.unavailableReason ?? "not available"}`}
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
    </>
  );
}
