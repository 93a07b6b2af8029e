import { Dialog } from "../components/Dialog.tsx";
import { TokenForm } from "../screens/login/TokenForm.tsx";
import { session, signOut } from "./session.ts";
import { useStore } from "./store.ts";

/** The token has ended while the page was open: a new one, and everything goes on where it was. */
export function SessionDialog() {
  const { expired } = useStore(session);
  if (!expired) return null;
  return (
    <Dialog title="Sign in again">
      <p>Your token has ended. What runs goes on; with a new token this page does too.</p>
      <TokenForm onCancel={() => signOut()} />
    </Dialog>
  );
}
