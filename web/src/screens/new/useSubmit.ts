import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";

import { refresh } from "../../app/queries.ts";
import { tasks } from "../../app/tasks.ts";
import { Problem } from "../../client/problem.ts";
import type { Team } from "../../client/snapshot.ts";
import type { TaskRequest } from "../../client/wire.ts";
import { fieldErrors, type FieldErrors, keepDraft, type TaskDraft, toRequest } from "./draft.ts";

/** What keeps a request from being sent twice: one at a time, however it was asked for. */
export function useSubmit(draft: TaskDraft, team: Team) {
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

/** What was sent before a reload and not answered: the same key finds the task, or starts it now. */
export function useGoOn(request: TaskRequest | undefined, send: (request: TaskRequest) => Promise<void>): void {
  const asked = useRef(false);
  useEffect(() => {
    if (request === undefined || asked.current) return;
    asked.current = true;
    void send(request);
  });
}
