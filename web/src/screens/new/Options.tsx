import { Field } from "../../components/Field.tsx";
import type { Field as FieldName, FieldErrors, TaskDraft } from "./draft.ts";

interface OptionsProps {
  draft: TaskDraft;
  errors: FieldErrors;
  change: (change: Partial<TaskDraft>) => void;
}

/** What is seldom needed: limits, restarts, budgets, labels. */
export function Options({ draft, errors, change }: OptionsProps) {
  const numeric = (name: FieldName, label: string, hint?: string) => (
    <Field label={label} error={errors[name]} hint={hint}>
      {(props) => (
        <input {...props} name={name} inputMode="decimal" value={String(draft[name])} onChange={(event) => change({ [name]: event.target.value })} />
      )}
    </Field>
  );
  const choice = (name: FieldName, label: string, options: readonly [string, string][]) => (
    <Field label={label} error={errors[name]}>
      {(props) => (
        <select {...props} name={name} value={String(draft[name])} onChange={(event) => change({ [name]: event.target.value })}>
          {options.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
        </select>
      )}
    </Field>
  );
  const json = (name: FieldName, label: string, placeholder: string) => (
    <Field label={label} error={errors[name]}>
      {(props) => (
        <textarea
          {...props} name={name} rows={3} className="mono" spellCheck={false} placeholder={placeholder} value={String(draft[name])}
          onChange={(event) => change({ [name]: event.target.value })}
        />
      )}
    </Field>
  );
  const wrong = OPTIONS.some((name) => errors[name] !== undefined);
  return (
    <details className="options" open={wrong || undefined}>
      <summary>More options</summary>
      <div className="options-grid">
        {choice("onAgentError", "When an agent fails", [["", "As the mode says"], ["stop", "Start no other"], ["continue", "Go on with the others"]])}
        {choice("onRestart", "When the server restarts", [["", "As the server says"], ["resume", "Go on"], ["fail", "Fail"]])}
        {numeric("timeoutSeconds", "Time limit (seconds)", "Active time only.")}
        {numeric("maxParallel", "Agents at once")}
        {numeric("priority", "Priority (−10 to 10)")}
        {numeric("budgetTokens", "Budget: tokens")}
        {numeric("budgetCostUsd", "Budget: US dollars")}
        {numeric("budgetSeconds", "Budget: seconds")}
      </div>
      {json("metadata", "Labels (JSON)", '{"project": "blue"}')}
      <Field label="Starts after these tasks (ids)" error={errors.after}>
        {(props) => <textarea {...props} name="after" rows={2} className="mono" spellCheck={false} value={draft.after} onChange={(event) => change({ after: event.target.value })} />}
      </Field>
    </details>
  );
}

const OPTIONS: readonly FieldName[] = [
  "onAgentError", "onRestart", "timeoutSeconds", "maxParallel", "priority", "budgetTokens", "budgetCostUsd", "budgetSeconds", "metadata", "after",
];
