import { TriangleAlert, Unplug } from "lucide-react";

import { tasks } from "../../app/tasks.ts";
import type { Followed } from "../../client/follower.ts";
import { isEnd } from "../../client/view.ts";
import { Button } from "../../components/Button.tsx";
import { useNow } from "../../components/useNow.ts";
import type { Control } from "./controls.ts";

/** What is wrong with the connection, never with the task; and a task that has been silent too long. */
export function LinkBanner({ followed, stuck, cancel }: { followed: Followed; stuck: boolean; cancel: Control }) {
  const { link, view, silent } = followed;
  const now = useNow(link.state === "waiting", 200);
  if (link.state === "waiting" || (link.state === "connecting" && link.attempt > 0)) {
    const left = link.state === "waiting" ? Math.max(0, Math.ceil((link.until - now) / 1000)) : 0;
    return (
      <div className="banner" data-tone="warning" role="status" data-link={link.state}>
        <Unplug size={18} aria-hidden="true" />
        <p>
          <strong>Connection lost; the task goes on.</strong> Try {link.attempt} of 5{" "}
          <span aria-hidden="true">{left > 0 ? `in ${left} s.` : "now …"}</span>
        </p>
        <Button onClick={() => tasks.follower?.wake()}>Now</Button>
      </div>
    );
  }
  if (link.state === "lost") {
    return (
      <div className="banner" data-tone="error" role="alert" data-link="lost">
        <Unplug size={18} aria-hidden="true" />
        <p><strong>Connection lost, the task goes on.</strong> Five tries did not reach the server.</p>
        <Button kind="primary" onClick={() => tasks.follower?.wake()}>Try again</Button>
      </div>
    );
  }
  if (link.state === "refused" && !isEnd(view.status)) {
    return (
      <div className="banner" data-tone="error" role="alert" data-link="refused">
        <Unplug size={18} aria-hidden="true" />
        <p>{link.problem.message}</p>
      </div>
    );
  }
  if (silent || (stuck && view.status === "running" && link.state === "live" && silent)) {
    return (
      <div className="banner" data-tone="warning" role="alert">
        <TriangleAlert size={18} aria-hidden="true" />
        <p><strong>No news for 5 minutes.</strong> The task may be stuck.</p>
        <Button onClick={() => tasks.follower?.check()}>Check</Button>
        <Button kind="danger" onClick={cancel.act} reason={cancel.reason}>Cancel</Button>
      </div>
    );
  }
  return null;
}
