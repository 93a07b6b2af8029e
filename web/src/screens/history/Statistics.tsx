import { useState } from "react";

import { useStatistics } from "../../app/queries.ts";
import { duration } from "../../components/format.ts";

interface Figures {
  count: number;
  completed: number;
  failed: number;
  cancelled: number;
  timedOut: number;
  failures: Record<string, number>;
  successRate?: number;
  medianTime?: number;
  p95Time?: number;
  inputTokens: number;
  outputTokens: number;
  costUsd: number;
}

const DAYS = [1, 7, 30] as const;

/** How it went lately, in a row of figures. */
export function Statistics() {
  const [days, setDays] = useState<number>(7);
  const { data, isError } = useStatistics(days);
  if (isError) return null; // the list says what is wrong
  const total = data?.total as Figures | undefined;
  const tokens = total === undefined ? 0 : total.inputTokens + total.outputTokens;
  const codes = Object.entries(total?.failures ?? {}).slice(0, 3);
  return (
    <section aria-label="Statistics" className="card statistics">
      <label className="small muted statistics-days">
        Last
        <select value={days} onChange={(event) => setDays(Number(event.target.value))}>
          {DAYS.map((count) => <option key={count} value={count}>{count === 1 ? "24 hours" : `${count} days`}</option>)}
        </select>
      </label>
      <dl>
        <Figure name="Tasks" value={total?.count} />
        <Figure name="Success" value={total?.successRate === undefined ? undefined : `${Math.round(total.successRate * 100)} %`} />
        <Figure name="Median" value={total?.medianTime === undefined ? undefined : duration(total.medianTime)} />
        <Figure name="Slowest 5 %" value={total?.p95Time === undefined ? undefined : `over ${duration(total.p95Time)}`} />
        {tokens > 0 && <Figure name="Tokens" value={tokens.toLocaleString()} />}
        {total !== undefined && total.costUsd > 0 && <Figure name="Cost" value={`$${total.costUsd.toFixed(2)}`} />}
        {codes.length > 0 && <Figure name="Failures" value={codes.map(([code, count]) => `${count} × ${code}`).join(", ")} />}
      </dl>
    </section>
  );
}

function Figure({ name, value }: { name: string; value: string | number | undefined }) {
  return <div><dt>{name}</dt><dd className="numbers">{value ?? "–"}</dd></div>;
}
