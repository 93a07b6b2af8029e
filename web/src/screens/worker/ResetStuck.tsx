import { RefreshCcwDot } from "lucide-react";
import { useEffect, useState } from "react";

import { toast } from "../../app/announce.ts";
import { tasks } from "../../app/tasks.ts";
import { Button } from "../../components/Button.tsx";
import { Dialog } from "../../components/Dialog.tsx";
import { counted } from "../../components/format.ts";

/** Closes tasks whose run is gone; asks first. */
export function ResetStuck({ reason }: { reason: string | undefined }) {
  const [asking, setAsking] = useState(false);
  const reset = async () => {
    setAsking(false);
    try {
      const done = await tasks.resetAgentState();
      toast(done.reset.length === 0 ? "Nothing was stuck." : `${counted(done.reset.length, "task")} reset.`, "success");
    } catch {
      // told by the manager's taskError below
    }
  };
  useEffect(() => tasks.on("taskError", ({ taskId, error }) => taskId === undefined && toast(error, "error")), []);
  return (
    <>
      <Button icon={RefreshCcwDot} reason={reason} onClick={() => setAsking(true)}>Reset stuck tasks</Button>
      {asking && (
        <Dialog title="Reset stuck tasks?" onClose={() => setAsking(false)}>
          <p>Closes tasks whose run is gone. One that lives is never touched.</p>
          <div className="dialog-actions">
            <Button onClick={() => setAsking(false)}>Leave them</Button>
            <Button kind="danger" data-first onClick={() => void reset()}>Reset</Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
