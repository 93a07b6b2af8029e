import { useId, useState } from "react";

import { queryClient } from "../../app/queries.ts";
import { claimsOf, signIn } from "../../app/session.ts";
import { BASE } from "../../app/config.ts";
import { Api } from "../../client/api.ts";
import { Button } from "../../components/Button.tsx";

/** Takes a token by hand, or out of a pasted login link, and tries it before it is kept. */
export function TokenForm({ onCancel, onDone }: { onCancel?: () => void; onDone?: () => void }) {
  const id = useId();
  const [text, setText] = useState("");
  const [error, setError] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const submit = async () => {
    setBusy(true);
    const refusal = await tryToken(text);
    setBusy(false);
    setError(refusal);
    if (refusal === undefined) onDone?.();
  };
  return (
    <form
      className="token-form"
      onSubmit={(event) => {
        event.preventDefault();
        void submit();
      }}
    >
      <label htmlFor={id}>Token or login link</label>
      <textarea
        id={id} value={text} rows={4} spellCheck={false} autoComplete="off" autoFocus className="mono"
        aria-invalid={error !== undefined} aria-describedby={error === undefined ? undefined : `${id}-error`}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={(event) => {
          if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            void submit();
          }
        }}
      />
      {error !== undefined && <p id={`${id}-error`} className="field-error" role="alert">{error}</p>}
      <div className="dialog-actions">
        {onCancel && <Button onClick={onCancel}>Sign out</Button>}
        <Button kind="primary" type="submit" isBusy={isBusy}>Sign in</Button>
      </div>
    </form>
  );
}

/** Keep a token if the server takes it; else the sentence that says why not. */
export async function tryToken(text: string): Promise<string | undefined> {
  const token = (text.split("#token=")[1] ?? text).trim();
  if (claimsOf(token) === undefined) return "This is no token. `poststream token` makes one, and `poststream serve` prints a link.";
  try {
    await new Api({ base: BASE, token: () => token }).activeTasks();
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  signIn(token);
  void queryClient.invalidateQueries();
  return undefined;
}
