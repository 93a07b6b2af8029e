import { type ReactNode, useId } from "react";

interface FieldProps {
  label: string;
  error?: string | undefined;
  hint?: ReactNode;
  /** Gets the id and what describes it. */
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: true }) => ReactNode;
}

/** A label, its control, a hint, and what is wrong with it. */
export function Field({ label, error, hint, children }: FieldProps) {
  const id = useId();
  const described = [hint !== undefined && `${id}-hint`, error !== undefined && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, ...(described === "" ? {} : { "aria-describedby": described }), ...(error === undefined ? {} : { "aria-invalid": true }) })}
      {hint !== undefined && <p id={`${id}-hint`} className="muted small">{hint}</p>}
      {error !== undefined && <p id={`${id}-error`} className="field-error">{error}</p>}
    </div>
  );
}
