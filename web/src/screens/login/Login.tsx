import { useEffect, useEffectEvent, useState } from "react";
import { useLocation, useSearchParams } from "wouter";

import { useTitle } from "../../components/useTitle.ts";
import { Mark } from "../../components/Mark.tsx";
import { TokenForm, tryToken } from "./TokenForm.tsx";

/** One card. A link carries its token behind the `#`, which no server and no log ever sees. */
export function Login() {
  useTitle("Sign in");
  const [search] = useSearchParams();
  const [, navigate] = useLocation();
  const [error, setError] = useState<string>();
  const goOn = () => navigate(safe(search.get("to")), { replace: true });
  const goOnLater = useEffectEvent(goOn);
  useEffect(() => {
    const take = () => {
      const token = new URLSearchParams(location.hash.slice(1)).get("token");
      if (token === null) return;
      history.replaceState(null, "", location.pathname + location.search); // out of the history
      void tryToken(token).then((refusal) => (refusal === undefined ? goOnLater() : setError(refusal)));
    };
    take();
    addEventListener("hashchange", take); // a link pasted into the address bar of this very screen
    return () => removeEventListener("hashchange", take);
  }, []);
  return (
    <main className="login">
      <div className="card login-card">
        <h1 className="brand"><Mark />Poststream</h1>
        <p className="muted">Teams of agents, and everything they do, live.</p>
        {error !== undefined && <p className="field-error" role="alert">{error}</p>}
        <TokenForm onDone={goOn} />
        <p className="muted small">
          <code>poststream serve</code> prints a login link; <code>poststream token --sub me</code> makes a token.
        </p>
      </div>
    </main>
  );
}

/** An address of this page; nobody can be sent elsewhere by a link. */
function safe(to: string | null): string {
  return to !== null && /^\/(?![/\\])/.test(to) && !to.startsWith("/login") ? to : "/";
}
