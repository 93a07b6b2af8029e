import { Play } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { useLocation, useSearchParams } from "wouter";

import { refresh, useTeam } from "../../app/queries.ts";
import { tasks, useFollowed } from "../../app/tasks.ts";
import { Problem } from "../../client/problem.ts";
import type { Team } from "../../client/snapshot.ts";
import type { TaskRequest } from "../../client/wire.ts";
import { Button } from "../../components/Button.tsx";
import { Field } from "../../components/Field.tsx";
import { Failure, Loading } from "../../components/Notes.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { AgentPicker } from "./AgentPicker.tsx";
import { DependsOn } from "./DependsOn.tsx";
import { draftOf, EMPTY_DRAFT, fieldErrors, type FieldErrors, keepDraft, keptDraft, type TaskDraft, toRequest } from "./draft.ts";
import { Options } from "./Options.tsx";

/** A new task: what, by whom, and how. */
export function NewTask() {
  useTitle("New task");
  const team = useTeam();
  return (
    <div className="screen screen-narrow">
      <h1>New task</h1>
      {team.data !== undefined ? <TaskForm team={team.data} /> : team.isError ? (
        <Failure error={team.error} onRetry={() => void team.refetch()} />
      ) : <Loading lines={6} />}
    </div>
  );
}

/** What keeps a request from being sent twice: one at a time, however it was asked for. */
function useSubmit(draft: TaskDraft, team: Team) {
  const [, navigate] = useLocation();
  const [errors, setErrors] = useState<FieldErrors>({});
  const [refusal, setRefusal] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const sending = useRef(false);
  const send = async (request: TaskRequest) => {
    if (sending.current) return;
    sending.current = true;
    setBusy(true);
    setRefusal(undefined);
    try {
      const taskId = await tasks.startTask(request);
      keepDraft(undefined);
      refresh();
      navigate(`/tasks/${taskId}`);
    } catch (error) {
      const marked = error instanceof Problem ? fieldErrors(error.errors, draft) : {};
      const all = error instanceof Problem && error.errors.length > 0 && error.errors.length === Object.keys(marked).length;
      setErrors(marked);
      setRefusal(all ? "The server refused it; the marked fields say why." : error instanceof Error ? error.message : String(error));
    } finally {
      sending.current = false;
      setBusy(false);
    }
  };
  const submit = () => {
    const { request, errors } = toRequest(draft, team);
    setErrors(errors);
    if (request !== undefined) return void send(request);
    setRefusal(undefined);
    requestAnimationFrame(() => document.querySelector<HTMLElement>("[aria-invalid], .agents:has(.field-error) input")?.focus());
  };
  return { errors, refusal, isBusy, submit, send };
}

function TaskForm({ team }: { team: Team }) {
  const [search] = useSearchParams();
  const pending = tasks.pendingTask();
  const [draft, setDraft] = useState<TaskDraft>(() => (pending === undefined ? withDefaults(keptDraft(), team) : draftOf(pending.request)));
  const { errors, refusal, isBusy, submit, send } = useSubmit(draft, team);
  const link = useFollowed()?.link;
  const change = (change: Partial<TaskDraft>) => {
    const next = { ...draft, ...change };
    setDraft(next);
    keepDraft(next);
  };
  const asked = useRef(false);
  useEffect(() => {
    // Sent before a reload and not answered: the same key finds the task, or starts it now.
    if (pending === undefined || asked.current) return;
    asked.current = true;
    void send(pending.request);
  });
  const wantsAgents = search.get("agents");
  useEffect(() => {
    if (wantsAgents !== null) change({ agents: wantsAgents.split(",") });
  }, [wantsAgents]);
  return (
    <form
      className="task-form" noValidate
      onSubmit={(event) => {
        event.preventDefault();
        submit();
      }}
      onKeyDown={(event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
          event.preventDefault();
          submit();
        }
      }}
    >
      <Field label="Title" hint="Without one, the first line of the description." error={errors.title}>
        {(props) => <input {...props} name="title" maxLength={200} value={draft.title} onChange={(event) => change({ title: event.target.value })} />}
      </Field>
      <Field label="Description" error={errors.description}>
        {(props) => (
          <textarea
            {...props} name="description" rows={5} required autoFocus value={draft.description} className="growing"
            placeholder="What is to be done?" onChange={(event) => change({ description: event.target.value })}
          />
        )}
      </Field>
      <AgentPicker agents={team.agents} selected={draft.agents} onChange={(agents) => change({ agents })} error={errors.agents} />
      <Modes draft={draft} team={team} errors={errors} change={change} />
      <Field label="Inputs (JSON)" hint="What agents are given besides the description." error={errors.inputs}>
        {(props) => (
          <textarea {...props} name="inputs" rows={3} className="mono growing" spellCheck={false} placeholder='{"path": "."}' value={draft.inputs} onChange={(event) => change({ inputs: event.target.value })} />
        )}
      </Field>
      <Options draft={draft} errors={errors} change={change} />
      {refusal !== undefined && <p className="banner" data-tone="error" role="alert">{refusal}</p>}
      {isBusy && (link?.state === "waiting" || link?.state === "lost") && (
        <p className="banner" data-tone="warning" role="status">
          {link.state === "lost" ? "The server cannot be reached." : `The server does not answer; try ${link.attempt} of 5 follows.`}
          <Button onClick={() => tasks.follower?.wake()}>Now</Button>
        </p>
      )}
      <div className="form-actions">
        <Button kind="quiet" onClick={() => change(EMPTY_DRAFT)}>Clear</Button>
        <Button kind="primary" type="submit" icon={Play} isBusy={isBusy} title="Ctrl Enter">{isBusy ? "Starting…" : "Start"}</Button>
      </div>
    </form>
  );
}

const MODES = {
  sequential: ["One after another", "Each is given what those before it delivered."],
  parallel: ["At once", "All start together; one that fails stops no other."],
  graph: ["As a graph", "Each starts when those it depends on have delivered."],
} as const;

function Modes({ draft, team, errors, change }: { draft: TaskDraft; team: Team; errors: FieldErrors; change: (change: Partial<TaskDraft>) => void }) {
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

/** A first visit starts with everybody who can work, if they are few. */
function withDefaults(draft: TaskDraft, team: Team): TaskDraft {
  const available = team.agents.filter((agent) => agent.available).map((agent) => agent.agentRole);
  if (draft.agents.length > 0 || draft.description !== "" || available.length > 4) return draft;
  return { ...draft, agents: available };
}
