import { type ReactNode, useEffect, useId, useRef } from "react";

/** A question or a view over the page; Escape closes it. */
export function Dialog({ title, children, onClose, wide = false }: {
  title: string;
  children: ReactNode;
  /** Undefined when it cannot be dismissed. */
  onClose?: (() => void) | undefined;
  wide?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    if (element !== null && !element.open) element.showModal();
    element?.querySelector<HTMLElement>("[data-first]")?.focus(); // what Enter does
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog} className={wide ? "dialog dialog-wide" : "dialog"} aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose?.();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) onClose?.();
      }}
    >
      <div className="dialog-body">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}
