import { createElement, type ReactNode, useState } from "react";

import { toast } from "../../app/announce.ts";
import { api, tasks } from "../../app/tasks.ts";
import type { ActionName, Snapshot } from "../../client/snapshot.ts";
import { isEnd, type TaskView } from "../../client/view.ts";
import { CancelDialog } from "./CancelDialog.tsx";

type Name = "cancel" | "pause" | "resume" | "retry";

/** Something that can be done with the task, or why not. */
export interface Control {
  act: () => void;
  /** Why it is not possible now; undefined when it is. */
  reason: string | undefined;
  isBusy: boolean;
}

export type Controls = Record<Name, Control> & { dialog: ReactNode };

const OLD = "Being asked …";

/** What may be done with a task. The server says what is allowed; the page only repeats it. */
export function useControls(taskId: string, view: TaskView, snapshot: Snapshot | undefined, ask: () => void): Controls {
  const [busy, setBusy] = useState<Name>();
  const [asking, setAsking] = useState(false);
  const run = async (name: Name) => {
    setBusy(name);
    try {
      await api.control(taskId, name, tasks.follower?.taskId === taskId ? view.seq : snapshot?.lastEventId);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    } finally {
      setBusy(undefined);
      ask();
    }
  };
  const control = (name: Name): Control => {
    const reason = reasonAgainst(name, view, snapshot);
    const act = name === "cancel" ? () => setAsking(true) : () => void run(name);
    return { act: () => { if (reason === undefined && busy === undefined) act(); }, reason, isBusy: busy === name };
  };
  const dialog = asking && !isEnd(view.status)
    ? createElement(CancelDialog, {
        title: view.title,
        onStay: () => setAsking(false),
        onCancel: () => {
          setAsking(false);
          void run("cancel");
        },
      })
    : null;
  return { cancel: control("cancel"), pause: control("pause"), resume: control("resume"), retry: control("retry"), dialog };
}

/** Why something is not possible; undefined when it is. */
export function reasonAgainst(name: ActionName, view: Pick<TaskView, "status">, snapshot: Snapshot | undefined): string | undefined {
  if (snapshot === undefined) return OLD;
  const action = snapshot.actions[name];
  if (snapshot.status !== view.status) return OLD; // the events are ahead: the answer is on its way
  if (action === undefined) return "This server does not offer it.";
  return action.allowed ? undefined : (action.reason ?? "Not possible now.");
}
