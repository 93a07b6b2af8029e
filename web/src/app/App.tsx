import { QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { Redirect, Route, Router, Switch, useLocation } from "wouter";

import { Loading } from "../components/Notes.tsx";
import { Toasts } from "../components/Toasts.tsx";
import { Dashboard } from "../screens/dashboard/Dashboard.tsx";
import { Login } from "../screens/login/Login.tsx";
import { NewTask } from "../screens/new/NewTask.tsx";
import { NotFound } from "../screens/NotFound.tsx";
import { Viewer } from "../screens/viewer/Viewer.tsx";
import { announce } from "./announce.ts";
import { BASE_PATH } from "./config.ts";
import { useHotkeys } from "./hotkeys.ts";
import { KeyMap } from "./KeyMap.tsx";
import { LeaveDialog } from "./LeaveDialog.tsx";
import { useGuardedLocation } from "./navigation.ts";
import { queryClient } from "./queries.ts";
import { askOtherTabs, session } from "./session.ts";
import { SessionDialog } from "./SessionDialog.tsx";
import { useStore } from "./store.ts";
import { TopBar } from "./TopBar.tsx";
import { useEndsOfOthers } from "./useEndsOfOthers.ts";

// Screens that are not the first thing anybody needs come when they are asked for.
const Results = lazy(() => import("../screens/results/Results.tsx"));
const History = lazy(() => import("../screens/history/History.tsx"));
const Worker = lazy(() => import("../screens/worker/Worker.tsx"));
const Settings = lazy(() => import("../screens/settings/Settings.tsx"));

/** The page. */
export function App() {
  return (
    <QueryClientProvider client={queryClient}>
      <Router base={BASE_PATH} hook={useGuardedLocation}>
        <Entrance />
        <Toasts />
      </Router>
    </QueryClientProvider>
  );
}

/** Who has no token comes to the login, and from there to where they wanted. */
function Entrance() {
  const { token } = useStore(session);
  const [path] = useLocation();
  const [asked, setAsked] = useState(token !== undefined);
  useEffect(() => {
    if (!asked) void askOtherTabs().then(() => setAsked(true));
  }, [asked]);
  if (path === "/login") return <Login />;
  if (token === undefined) return asked ? <Redirect to={`/login?to=${encodeURIComponent(path + location.search)}`} replace /> : null;
  return <Shell />;
}

function Shell() {
  const [mapShown, setMapShown] = useState(false);
  const [path, navigate] = useLocation();
  useEndsOfOthers();
  useHotkeys({
    "?": () => setMapShown(true),
    g: () => navigate("/"),
    n: () => navigate("/new"),
    h: () => navigate("/history"),
    w: () => navigate("/worker"),
    ",": () => navigate("/settings"),
  });
  useArrival(path);
  return (
    <>
      <button type="button" className="skip" onClick={() => document.querySelector<HTMLElement>("main")?.focus()}>
        Skip to the content
      </button>
      <TopBar onKeys={() => setMapShown(true)} />
      <main tabIndex={-1}>
        <Suspense fallback={<Loading lines={6} />}>
          <Switch>
            <Route path="/" component={Dashboard} />
            <Route path="/new" component={NewTask} />
            <Route path="/tasks/:id/results">{({ id }) => <Results taskId={id} key={id} />}</Route>
            <Route path="/tasks/:id">{({ id }) => <Viewer taskId={id} key={id} />}</Route>
            <Route path="/history" component={History} />
            <Route path="/worker" component={Worker} />
            <Route path="/settings" component={Settings} />
            <Route component={NotFound} />
          </Switch>
        </Suspense>
      </main>
      {mapShown && <KeyMap onClose={() => setMapShown(false)} />}
      <LeaveDialog />
      <SessionDialog />
    </>
  );
}

/** A new screen begins at its top, and is named to those who do not see it change. */
function useArrival(path: string): void {
  const first = useRef(true);
  useEffect(() => {
    scrollTo(0, 0); // newer browsers answer with a promise, which no effect may return
    if (first.current) {
      first.current = false; // the browser itself names a page that was loaded
      return;
    }
    const timer = setTimeout(() => announce(document.title), 300); // once the screen has given its name
    return () => clearTimeout(timer);
  }, [path]);
}
