import { Trash2 } from "lucide-react";
import { useState } from "react";
import { useLocation } from "wouter";

import { toast } from "../../app/announce.ts";
import { queryClient, refresh } from "../../app/queries.ts";
import { api, tasks } from "../../app/tasks.ts";
import { Button } from "../../components/Button.tsx";
import { Dialog } from "../../components/Dialog.tsx";

/** Deletes a task that has ended; asks first, since nobody gets it back. */
export function DeleteButton({ taskId, title, seq, reason }: { taskId: string; title: string; seq: number; reason: string | undefined }) {
  const [asking, setAsking] = useState(false);
  const [, navigate] = useLocation();
  const remove = async () => {
    setAsking(false);
    try {
      await api.remove(taskId, seq);
      tasks.leave();
      queryClient.removeQueries({ queryKey: ["task", taskId] });
      refresh();
      navigate("/history");
      toast(`Deleted: ${title}`);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    }
  };
  return (
    <>
      <Button icon={Trash2} kind="quiet" reason={reason} onClick={() => setAsking(true)}>Delete</Button>
      {asking && (
        <Dialog title="Delete this task?" onClose={() => setAsking(false)}>
          <p>“{title}”, its log and its artifacts are gone for everybody. Nobody gets them back.</p>
          <div className="dialog-actions">
            <Button onClick={() => setAsking(false)} data-first>Keep it</Button>
            <Button kind="danger" onClick={() => void remove()}>Delete</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
