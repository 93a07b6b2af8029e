import { Problem } from "../../client/problem.ts";
import { toast } from "../../app/announce.ts";
import { refresh } from "../../app/queries.ts";
import { api, tasks } from "../../app/tasks.ts";
import { draftOf, keepDraft, requestOf } from "./draft.ts";

type Navigate = (to: string) => void;

/** The same once more: a new task with the same request. */
export async function runAgain(taskId: string, navigate: Navigate): Promise<void> {
  try {
    const started = await tasks.startTask(requestOf(await api.snapshot(taskId)));
    refresh();
    navigate(`/tasks/${started}`);
  } catch (error) {
    toast(error instanceof Problem ? error.message : String(error), "error");
  }
}

/** The form, filled with what a task was asked. */
export async function runLike(taskId: string, navigate: Navigate): Promise<void> {
  try {
    keepDraft(draftOf(requestOf(await api.snapshot(taskId))));
    navigate("/new");
  } catch (error) {
    toast(error instanceof Problem ? error.message : String(error), "error");
  }
}
