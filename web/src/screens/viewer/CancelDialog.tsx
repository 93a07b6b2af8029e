import { Button } from "../../components/Button.tsx";
import { plain } from "../../components/plain.ts";
import { Dialog } from "../../components/Dialog.tsx";

/** One short question before work is stopped. */
export function CancelDialog({ title, onStay, onCancel }: { title: string; onStay: () => void; onCancel: () => void }) {
  return (
    <Dialog title="Cancel this task?" onClose={onStay}>
      <p>“{plain(title)}” stops now. What was delivered is kept, and it can be retried.</p>
      <div className="dialog-actions">
        <Button onClick={onStay}>Let it run</Button>
        <Button kind="danger" onClick={onCancel} data-first>Cancel the task</Button>
      </div>
    </Dialog>
  );
}
