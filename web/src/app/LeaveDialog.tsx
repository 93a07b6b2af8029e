import { Button } from "../components/Button.tsx";
import { Dialog } from "../components/Dialog.tsx";
import { leaveNow, leaving } from "./navigation.ts";
import { useStore } from "./store.ts";

/** Asks before a running task is left. */
export function LeaveDialog() {
  const asked = useStore(leaving);
  if (asked === undefined) return null;
  const stay = () => leaving.set(undefined);
  return (
    <Dialog title="Leave the running task?" onClose={stay}>
      <p>The task goes on without you. You find it on the dashboard, where it is now.</p>
      <div className="dialog-actions">
        <Button onClick={stay} data-first>Stay</Button>
        <Button kind="primary" onClick={leaveNow}>Leave</Button>
      </div>
    </Dialog>
  );
}
