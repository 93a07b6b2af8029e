import { switchNotices, switchSound } from "../../app/TopBar.tsx";
import { type Preferences, prefer, preferences, type Theme } from "../../app/preferences.ts";
import { claimsOf, session, signOut } from "../../app/session.ts";
import { useStore } from "../../app/store.ts";
import { Button } from "../../components/Button.tsx";
import { dayAndTime } from "../../components/format.ts";
import { useTitle } from "../../components/useTitle.ts";

import "../../styles/settings.css";

const THEMES: readonly [Theme, string][] = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

/** What somebody has chosen; it stays in this browser. */
export default function Settings() {
  useTitle("Settings");
  const chosen = useStore(preferences);
  const claims = claimsOf(useStore(session).token);
  return (
    <div className="screen screen-narrow">
      <h1>Settings</h1>
      <p className="muted">They stay in this browser.</p>
      <section className="card setting-group" aria-labelledby="look">
        <h2 id="look">Look</h2>
        <fieldset className="theme-choice">
          <legend>Theme</legend>
          {THEMES.map(([theme, name]) => (
            <label key={theme} className="check"><input type="radio" name="theme" checked={chosen.theme === theme} onChange={() => prefer({ theme })} />{name}</label>
          ))}
        </fieldset>
      </section>
      <section className="card setting-group" aria-labelledby="end">
        <h2 id="end">When a task ends</h2>
        <Switch label="Sound" hint="Two soft tones: up when it went well, down when it did not." checked={chosen.sound} onChange={switchSound} />
        <Switch label="Desktop notice" hint="When it completes or fails and this page is not in front. The browser asks once." checked={chosen.notices} onChange={(notices) => void switchNotices(notices)} />
      </section>
      <section className="card setting-group" aria-labelledby="logs">
        <h2 id="logs">Logs begin with</h2>
        <label className="setting"><span><strong>Level</strong></span>
          <select value={chosen.logLevel} onChange={(event) => prefer({ logLevel: event.target.value as Preferences["logLevel"] })}>
            <option value="all">All levels</option><option value="warning">Warnings, errors</option><option value="error">Errors</option>
          </select>
        </label>
        <Switch label="Follow" hint="Stay at the newest line until you scroll up." checked={chosen.logFollow} onChange={(logFollow) => prefer({ logFollow })} />
        <Switch label="Wrap long lines" checked={chosen.logWrap} onChange={(logWrap) => prefer({ logWrap })} />
      </section>
      <section className="card setting-group" aria-labelledby="you">
        <h2 id="you">You</h2>
        <dl className="facts">
          <div><dt>Signed in as</dt><dd>{claims?.subject ?? "–"}</dd></div>
          <div><dt>May</dt><dd>{claims?.scopes.join(", ") || "–"}</dd></div>
          <div><dt>Until</dt><dd>{claims?.expiresAt === undefined ? "–" : dayAndTime(claims.expiresAt)}</dd></div>
        </dl>
        <div><Button onClick={() => signOut()}>Sign out</Button></div>
      </section>
    </div>
  );
}

function Switch({ label, hint, checked, onChange }: { label: string; hint?: string; checked: boolean; onChange: (on: boolean) => void }) {
  return (
    <label className="setting">
      <span><strong>{label}</strong>{hint !== undefined && <span className="muted small">{hint}</span>}</span>
      <input type="checkbox" role="switch" checked={checked} onChange={(event) => onChange(event.target.checked)} />
    </label>
  );
}
