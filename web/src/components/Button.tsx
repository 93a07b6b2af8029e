import type { LucideIcon } from "lucide-react";
import type { ButtonHTMLAttributes } from "react";

/** A button. One that is not possible stays reachable and says why. */
export function Button({ icon: Icon, children, kind = "plain", reason, isBusy = false, onClick, ...rest }: ButtonHTMLAttributes<HTMLButtonElement> & {
  icon?: LucideIcon;
  kind?: "plain" | "primary" | "danger" | "quiet";
  /** Why it cannot be used now; undefined when it can. */
  reason?: string | undefined;
  isBusy?: boolean;
}) {
  const off = reason !== undefined || isBusy;
  return (
    <button
      type="button" {...rest} className={`button button-${kind} ${rest.className ?? ""}`} aria-disabled={off || undefined}
      aria-busy={isBusy || undefined} title={reason ?? rest.title} onClick={off ? (event) => event.preventDefault() : onClick}
    >
      {Icon && <Icon size={16} aria-hidden="true" />}
      {children}
      {reason !== undefined && <span className="unseen">. Not possible: {reason}</span>}
    </button>
  );
}

/** A button that is a sign only; its name is for those who listen, and the tooltip. */
export function IconButton({ icon: Icon, label, pressed, reason, onClick, ...rest }: Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> & {
  icon: LucideIcon;
  label: string;
  pressed?: boolean;
  reason?: string | undefined;
}) {
  return (
    <button
      type="button" {...rest} className="icon-button" aria-label={label} title={reason ?? label} aria-pressed={pressed}
      aria-disabled={reason === undefined ? undefined : true} onClick={reason === undefined ? onClick : undefined}
    >
      <Icon size={18} aria-hidden="true" />
    </button>
  );
}
