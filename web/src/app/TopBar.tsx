import {
  Bell, BellOff, CircleHelp, Gauge, History, LogOut, type LucideIcon, Menu, MonitorCog, Moon, Plus, ServerCog, Settings, Sun, Volume2, VolumeX,
} from "lucide-react";
import { useEffect, useRef } from "react";
import { Link, useLocation } from "wouter";

import { IconButton } from "../components/Button.tsx";
import { Mark } from "../components/Mark.tsx";
import { toast } from "./announce.ts";
import { mayNotify, play } from "./notices.ts";
import { prefer, preferences, type Theme } from "./preferences.ts";
import { useActiveTasks, useServer } from "./queries.ts";
import { claimsOf, session, signOut } from "./session.ts";
import { useStore } from "./store.ts";

const SCREENS: readonly [path: string, name: string, icon: LucideIcon][] = [
  ["/", "Dashboard", Gauge], ["/new", "New task", Plus], ["/history", "History", History], ["/worker", "Worker", ServerCog],
];

/** On every screen: where one is, what runs, whether the server is there, and one's own switches. */
export function TopBar({ onKeys }: { onKeys: () => void }) {
  const [path] = useLocation();
  return (
    <header className="top">
      <Link href="/" className="brand" aria-label="Poststream, dashboard">
        <Mark />
        <span>Poststream</span>
      </Link>
      <nav aria-label="Screens" className="screens">
        {SCREENS.map(([to, name, Icon]) => (
          <Link key={to} href={to} aria-current={path === to ? "page" : undefined}>
            <Icon size={16} aria-hidden="true" />
            <span>{name}</span>
          </Link>
        ))}
      </nav>
      <div className="top-right">
        <RunningCount />
        <ServerSign />
        <Switches />
        <UserMenu onKeys={onKeys} />
      </div>
    </header>
  );
}

/** How many tasks run; opens the only one, or the list of them. */
function RunningCount() {
  const { data = [] } = useActiveTasks();
  const only = data.length === 1 ? data[0] : undefined;
  const text = `${data.length} active`;
  return (
    <Link href={only === undefined ? "/" : `/tasks/${only.taskId}`} className="count" data-some={data.length > 0} title={`${text} tasks`}>
      <span className="count-sign" aria-hidden="true">{data.length > 0 ? "◐" : "○"}</span>
      {data.length}
      <span className="count-word"> active</span>
    </Link>
  );
}

function ServerSign() {
  const { data, isError } = useServer();
  const [tone, word] = isError ? ["error", "Server away"] : data === false ? ["paused", "Takes no tasks"] : ["completed", "Server reachable"];
  return (
    <span className="server" data-tone={tone} role="img" aria-label={word} title={word}>
      {isError ? "✕" : data === false ? "‖" : "●"}
    </span>
  );
}

const THEMES: Record<Theme, [next: Theme, icon: LucideIcon, label: string]> = {
  system: ["light", MonitorCog, "Theme: as the system"],
  light: ["dark", Sun, "Theme: light"],
  dark: ["system", Moon, "Theme: dark"],
};

function Switches() {
  const { sound, notices, theme } = useStore(preferences);
  const [next, ThemeIcon, label] = THEMES[theme];
  return (
    <div className="switches">
      <IconButton icon={sound ? Volume2 : VolumeX} label="Sound at the end of a task" pressed={sound} onClick={() => switchSound(!sound)} />
      <IconButton icon={notices ? Bell : BellOff} label="Desktop notice at the end of a task" pressed={notices} onClick={() => void switchNotices(!notices)} />
      <IconButton icon={ThemeIcon} label={label} onClick={() => prefer({ theme: next })} />
    </div>
  );
}

/** Sound on or off; on is heard at once. */
export function switchSound(sound: boolean): void {
  prefer({ sound });
  if (sound) play(true);
}

/** Notices on or off; the browser is asked for the right only now. */
export async function switchNotices(notices: boolean): Promise<void> {
  if (notices && !(await mayNotify())) {
    toast("The browser does not allow notices for this page.", "error");
    return;
  }
  prefer({ notices });
}

function UserMenu({ onKeys }: { onKeys: () => void }) {
  const claims = claimsOf(useStore(session).token);
  const menu = useRef<HTMLDetailsElement>(null);
  const [path] = useLocation();
  useEffect(() => {
    const close = (event: Event) => {
      if (menu.current === null || (event.target instanceof Node && menu.current.contains(event.target))) return;
      menu.current.open = false;
    };
    const escape = (event: KeyboardEvent) => {
      if (event.key === "Escape" && menu.current !== null) menu.current.open = false;
    };
    addEventListener("pointerdown", close);
    addEventListener("keydown", escape);
    return () => {
      removeEventListener("pointerdown", close);
      removeEventListener("keydown", escape);
    };
  }, []);
  useEffect(() => {
    if (menu.current !== null) menu.current.open = false;
  }, [path]);
  const subject = claims?.subject ?? "signed in";
  return (
    <details className="menu" ref={menu}>
      <summary aria-label={`Menu of ${subject}`}>
        <span className="avatar" aria-hidden="true">{subject.slice(0, 1).toUpperCase()}</span>
        <Menu size={16} aria-hidden="true" />
      </summary>
      <div className="menu-body">
        <p className="menu-who"><strong>{subject}</strong><span className="muted">{claims?.scopes.join(" · ")}</span></p>
        <div className="menu-switches"><Switches /></div>
        <Link href="/settings"><Settings size={16} aria-hidden="true" />Settings</Link>
        <button type="button" onClick={() => { if (menu.current !== null) menu.current.open = false; onKeys(); }}>
          <CircleHelp size={16} aria-hidden="true" />Keyboard map
        </button>
        <button type="button" onClick={() => signOut()}><LogOut size={16} aria-hidden="true" />Sign out</button>
      </div>
    </details>
  );
}
