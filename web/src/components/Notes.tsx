import type { LucideIcon } from "lucide-react";
import { CircleAlert, CloudOff } from "lucide-react";
import type { ReactNode } from "react";

import { Problem } from "../client/problem.ts";

/** Nothing is here yet, and what to do about it. */
export function Empty({ icon: Icon, title, children }: { icon: LucideIcon; title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <Icon size={32} strokeWidth={1.5} aria-hidden="true" />
      <p className="empty-title">{title}</p>
      {children}
    </div>
  );
}

/** Something could not be read, in the server's words. */
export function Failure({ error, onRetry }: { error: unknown; onRetry?: (() => void) | undefined }) {
  const away = error instanceof Problem && error.status === 0;
  const text = error instanceof Error ? error.message : String(error);
  return (
    <div className="empty" role="alert">
      {away ? <CloudOff size={32} strokeWidth={1.5} aria-hidden="true" /> : <CircleAlert size={32} strokeWidth={1.5} aria-hidden="true" />}
      <p className="empty-title">{away ? "The server does not answer" : text}</p>
      {away && <p className="muted">What runs goes on. This page asks again by itself.</p>}
      {onRetry && <button type="button" className="button button-plain" onClick={onRetry}>Try again</button>}
    </div>
  );
}

/** Lines that will be here in a moment. */
export function Loading({ lines = 3 }: { lines?: number }) {
  return (
    <div className="loading" aria-busy="true" aria-label="Loading">
      {Array.from({ length: lines }, (_, index) => <div key={index} className="loading-line" />)}
    </div>
  );
}
