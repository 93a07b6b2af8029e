import { MessageCircleQuestion } from "lucide-react";
import { useState } from "react";

import { toast } from "../../app/announce.ts";
import { refresh } from "../../app/queries.ts";
import { api } from "../../app/tasks.ts";
import type { Snapshot } from "../../client/snapshot.ts";
import type { AgentView, TaskView } from "../../client/view.ts";
import { Button } from "../../components/Button.tsx";
import { plain } from "../../components/plain.ts";
import { reasonAgainst } from "./controls.ts";

/** What agents ask, and the way to answer. */
export function Questions({ taskId, view, snapshot }: { taskId: string; view: TaskView; snapshot: Snapshot | undefined }) {
  if (view.status !== "waiting") return null;
  const asking = view.agents.filter((agent) => agent.question !== undefined);
  return asking.map((agent) => (
    <Question key={agent.question?.questionId} taskId={taskId} agent={agent} reason={reasonAgainst("answer", view, snapshot)} />
  ));
}

function Question({ taskId, agent, reason }: { taskId: string; agent: AgentView; reason: string | undefined }) {
  const [text, setText] = useState("");
  const [isBusy, setBusy] = useState(false);
  const { question } = agent;
  if (question === undefined) return null;
  const answer = async (given: string) => {
    if (given.trim() === "" || isBusy) return;
    setBusy(true);
    try {
      await api.answer(taskId, question.questionId, given);
      refresh(taskId);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      className="banner question" data-tone="paused"
      onSubmit={(event) => {
        event.preventDefault();
        void answer(text);
      }}
    >
      <MessageCircleQuestion size={18} aria-hidden="true" />
      <div className="question-body">
        <p><strong>{agent.name} asks:</strong> {plain(question.text)}</p>
        {question.options !== undefined && (
          <div className="actions">
            {question.options.map((option) => (
              <Button key={option} onClick={() => void answer(option)} reason={reason} isBusy={isBusy}>{plain(option)}</Button>
            ))}
          </div>
        )}
        <div className="question-answer">
          <input aria-label={`Answer to ${agent.name}`} value={text} onChange={(event) => setText(event.target.value)} placeholder="Your answer" />
          <Button type="submit" kind="primary" reason={reason} isBusy={isBusy}>Answer</Button>
        </div>
      </div>
    </form>
  );
}
