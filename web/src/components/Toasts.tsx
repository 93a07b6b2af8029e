import { X } from "lucide-react";
import { Link } from "wouter";

import { announcement, dismiss, toasts } from "../app/announce.ts";
import { useStore } from "../app/store.ts";

/** What was said a moment ago, for eyes and ears. */
export function Toasts() {
  const shown = useStore(toasts);
  const said = useStore(announcement);
  return (
    <>
      <p className="unseen" role="status" aria-live="polite" data-testid="announcement">{said}</p>
      <div className="toasts" role="status" aria-live="polite">
        {shown.map((toast) => (
          <div key={toast.id} className="toast" data-kind={toast.kind}>
            <span>{toast.text}</span>
            {toast.to !== undefined && <Link href={toast.to} onClick={() => dismiss(toast.id)}>Open</Link>}
            <button type="button" className="icon-button" aria-label="Dismiss" onClick={() => dismiss(toast.id)}>
              <X size={16} aria-hidden="true" />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
