/** How far something is; without a value it moves without telling. */
export function ProgressBar({ value, label, tone, still = false }: {
  /** 0 to 1; undefined when nobody knows. */
  value: number | undefined;
  label: string;
  tone: string;
  /** Nothing goes on: an unknown value is an empty bar. */
  still?: boolean;
}) {
  const known = value !== undefined || still;
  const share = Math.min(1, Math.max(0, value ?? 0));
  return (
    <div
      className="bar" data-tone={tone} data-known={known} role="progressbar" aria-label={label}
      aria-valuemin={0} aria-valuemax={100} {...(known ? { "aria-valuenow": Math.round(share * 100) } : {})}
    >
      <div className="bar-fill" style={known ? { transform: `scaleX(${share})` } : undefined} />
    </div>
  );
}
