import { useEffect, useRef, useState } from "react";

import { toast } from "../../app/announce.ts";
import { queryClient } from "../../app/queries.ts";
import { api } from "../../app/tasks.ts";
import { startRunner, stopRunner } from "../../client/runner.ts";
import type { RunnerStatus } from "../../client/snapshot.ts";

/** Starts the loop or attaches to it, stops it and watches until it has. */
export function useSwitch() {
  const [busy, setBusy] = useState<"start" | "stop">();
  const [waited, setWaited] = useState(0);
  const asking = useRef<AbortController>(undefined);
  useEffect(() => () => asking.current?.abort(), []);
  const know = (told: RunnerStatus) => queryClient.setQueryData(["runner"], told);
  const start = async () => {
    setBusy("start");
    try {
      if ((await startRunner(api)) === "attached") toast("The loop runs already; this page is attached to it.");
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    }
    setBusy(undefined);
    void queryClient.invalidateQueries({ queryKey: ["runner"] });
  };
  const stop = async (now: boolean) => {
    asking.current?.abort();
    const mine = new AbortController();
    asking.current = mine;
    setBusy("stop");
    setWaited(0);
    try {
      await stopRunner(api, now, (told, since) => { know(told); setWaited(since); }, mine.signal);
    } catch (error) {
      toast(error instanceof Error ? error.message : String(error), "error");
    }
    if (!mine.signal.aborted) setBusy(undefined);
  };
  return { busy, waited, start, stop };
}
