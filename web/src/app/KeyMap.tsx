import { Button } from "../components/Button.tsx";
import { Dialog } from "../components/Dialog.tsx";
import { KEY_MAP } from "./hotkeys.ts";

/** All keys there are. */
export function KeyMap({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keyboard map" onClose={onClose} wide>
      <div className="keymap">
        {KEY_MAP.map(({ where, keys }) => (
          <section key={where}>
            <h3>{where}</h3>
            <dl>
              {keys.map(([names, does]) => (
                <div key={names}>
                  <dt>{names.split(" ").map((name) => <kbd key={name}>{name}</kbd>)}</dt>
                  <dd>{does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <div className="dialog-actions"><Button kind="primary" onClick={onClose} data-first>Close</Button></div>
    </Dialog>
  );
}
