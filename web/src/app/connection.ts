import { tasks } from "./tasks.ts";

const HIDDEN_MILLISECONDS = 60_000; // a tab nobody looks at gives its connection back

const channel = new BroadcastChannel("poststream.streams");
let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Shares the browser's six connections among tabs, and comes back at once when somebody looks.
 *
 * A hidden tab gives its stream back after a minute, or as soon as another tab opens one; it takes it
 * again, where it was, when it becomes visible. So there is one stream per visible window, and one more.
 */
export function watchConnection(): void {
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") {
      comeBack();
      return;
    }
    timer = setTimeout(() => tasks.follower?.release(), HIDDEN_MILLISECONDS);
  });
  addEventListener("online", comeBack);
  let live = false;
  tasks.on("change", () => {
    const now = tasks.followed?.link.state === "live";
    if (now && !live) channel.postMessage("live");
    live = now;
  });
  channel.onmessage = () => {
    if (document.visibilityState === "hidden") tasks.follower?.release();
  };
}

function comeBack(): void {
  const state = tasks.followed?.link.state;
  if (state === "released") tasks.follower?.hold();
  else if (state === "waiting" || state === "lost") tasks.follower?.wake();
}
