import { Play } from "lucide-react";
import { useState } from "react";

import { useTeam } from "../../app/queries.ts";
import { tasks, useFollowed } from "../../app/tasks.ts";
import type { Team } from "../../client/snapshot.ts";
import { Button } from "../../components/Button.tsx";
import { Field } from "../../components/Field.tsx";
import { Failure, Loading } from "../../components/Notes.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { AgentPicker } from "./AgentPicker.tsx";
import { draftOf, EMPTY_DRAFT, keepDraft, keptDraft, type TaskDraft } from "./draft.ts";
import { Modes } from "./Modes.tsx";
import { Options } from "./Options.tsx";
import { useGoOn, useSubmit } from "./useSubmit.ts";

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

function TaskForm({ team }: { team: Team }) {
  const pending = tasks.pendingTask();
  const [draft, setDraft] = useState<TaskDraft>(() => (pending === undefined ? withDefaults(keptDraft(), team) : draftOf(pending.request)));
  const { errors, refusal, isBusy, submit, send } = useSubmit(draft, team);
  const change = (change: Partial<TaskDraft>) => {
    const next = { ...draft, ...change };
    setDraft(next);
    keepDraft(next);
  };
  useGoOn(pending?.request, send);
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
      {isBusy && <Reaching />}
      <div className="form-actions">
        <Button kind="quiet" onClick={() => change(EMPTY_DRAFT)}>Clear</Button>
        <Button kind="primary" type="submit" icon={Play} isBusy={isBusy} title="Ctrl Enter">{isBusy ? "Starting…" : "Start"}</Button>
      </div>
    </form>
  );
}

/** A server that does not answer is asked again; the same key makes it one task. */
function Reaching() {
  const link = useFollowed()?.link;
  if (link?.state !== "waiting" && link?.state !== "lost") return null;
  return (
    <p className="banner" data-tone="warning" role="status">
      {link.state === "lost" ? "The server cannot be reached." : `The server does not answer; try ${link.attempt} of 5 follows.`}
      <Button onClick={() => tasks.follower?.wake()}>Now</Button>
    </p>
  );
}

/** A first visit starts with everybody who can work, if they are few. */
function withDefaults(draft: TaskDraft, team: Team): TaskDraft {
  const available = team.agents.filter((agent) => agent.available).map((agent) => agent.agentRole);
  if (draft.agents.length > 0 || draft.description !== "" || available.length > 4) return draft;
  return { ...draft, agents: available };
}
