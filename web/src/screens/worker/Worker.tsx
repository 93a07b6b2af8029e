import { useQuery } from "@tanstack/react-query";
import { Eraser, Trash2 } from "lucide-react";
import { useMemo } from "react";

import { toast } from "../../app/announce.ts";
import { POLL_MILLISECONDS } from "../../app/config.ts";
import { isAdmin, session } from "../../app/session.ts";
import { useStore } from "../../app/store.ts";
import { api } from "../../app/tasks.ts";
import { Button, IconButton } from "../../components/Button.tsx";
import LogPanel, { type PanelLine } from "../../components/LogPanel.tsx";
import { Failure, Loading } from "../../components/Notes.tsx";
import { useTitle } from "../../components/useTitle.ts";
import { Loop, NOT_ADMIN } from "./Loop.tsx";
import { useRunnerLog } from "./useRunnerLog.ts";

import "../../styles/worker.css";

/** The loop that runs the tasks: its switch, and what it says. */
export default function Worker() {
  useTitle("Worker");
  const query = useQuery({ queryKey: ["runner"], queryFn: api.runnerStatus, refetchInterval: POLL_MILLISECONDS });
  const admin = isAdmin(useStore(session));
  const { lines, link, wake, clear } = useRunnerLog();
  const shown = useMemo(() => lines.map((line): PanelLine => ({
    seq: line.id, at: Date.parse(line.timestamp), level: line.type, text: line.message,
    tag: line.thread === 0 ? "loop" : `slot ${line.thread}`,
  })), [lines]);
  const clearAll = async () => {
    try {
      await api.runnerClear();
      clear();
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    }
  };
  return (
    <div className="screen">
      <h1>Worker</h1>
      {query.data !== undefined ? <Loop status={query.data} admin={admin} /> : query.isError ? (
        <Failure error={query.error} onRetry={() => void query.refetch()} />
      ) : <Loading lines={2} />}
      <section aria-labelledby="runner-log">
        <div className="row-between"><h2 id="runner-log">Log</h2><span className="muted small" data-link={link.state}>{linkWord(link.state)}</span></div>
        {(link.state === "waiting" || link.state === "lost") && (
          <p className="banner" data-tone="warning" role="status">
            {link.state === "lost" ? "Connection lost; the worker goes on." : `Connection lost; the worker goes on. Try ${link.attempt} of 5 follows.`}
            <Button onClick={wake}>{link.state === "lost" ? "Try again" : "Now"}</Button>
          </p>
        )}
        <div className="card terminal">
          <LogPanel
            lines={shown} name="worker.log" label="Log of the worker"
            tools={(
              <>
                <IconButton icon={Eraser} label="Clear the view" onClick={clear} />
                <IconButton icon={Trash2} label="Delete the log on the server" reason={admin ? undefined : NOT_ADMIN} onClick={() => void clearAll()} />
              </>
            )}
          />
        </div>
      </section>
    </div>
  );
}

function linkWord(state: string): string {
  return state === "live" ? "● live" : state === "refused" ? "not allowed" : "connecting …";
}
