/** What the server tells the page about itself, written into the document. */
interface Config {
  pollMilliseconds?: number;
  keepaliveSeconds?: number;
}

function read(): Config {
  const content = document.querySelector<HTMLMetaElement>('meta[name="poststream"]')?.content;
  return JSON.parse(content || "{}") as Config;
}

const config = read();

/** Where the server is mounted, with a slash at the end. */
export const BASE = document.baseURI;

/** The same as a path without a slash at the end, for the router. */
export const BASE_PATH = new URL(BASE).pathname.replace(/\/$/, "");

/** How often lists are asked for again while somebody looks. */
export const POLL_MILLISECONDS = config.pollMilliseconds ?? 3000;

/** Silence after which a connection counts as dead: three keep-alives that did not come. */
export const DEAD_MILLISECONDS = Math.max(30_000, (config.keepaliveSeconds ?? 15) * 3000);
