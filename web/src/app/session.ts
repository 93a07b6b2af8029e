import { isRecord } from "../client/problem.ts";
import { Store } from "./store.ts";

/** Who uses the page. The token lives in this tab only; other tabs of the same user hand it on. */
export interface Session {
  token: string | undefined;
  /** The server has refused the token: work waits until there is a new one. */
  expired: boolean;
}

const KEY = "poststream.token";
const channel = new BroadcastChannel("poststream.session");

export const session = new Store<Session>({ token: sessionStorage.getItem(KEY) ?? undefined, expired: false });

/** Take a token, from a link or from hand. */
export function signIn(token: string): void {
  sessionStorage.setItem(KEY, token);
  session.set({ token, expired: false });
}

/** Forget the token, here and in all tabs. */
export function signOut(tell = true): void {
  sessionStorage.removeItem(KEY);
  session.set({ token: undefined, expired: false });
  if (tell) channel.postMessage({ kind: "out" });
}

/** The server has refused a token; an answer to an older one says nothing about the one of now. */
export function expire(refused: string | undefined): void {
  const { token } = session.get();
  if (token !== undefined && token === refused) session.set({ token, expired: true });
}

/** Ask the other tabs for a token; resolves soon, with or without one. */
export function askOtherTabs(): Promise<void> {
  if (session.get().token !== undefined) return Promise.resolve();
  channel.postMessage({ kind: "who" });
  return new Promise((resolve) => {
    const unsubscribe = session.subscribe(done);
    const timer = setTimeout(done, 80);
    function done(): void {
      clearTimeout(timer);
      unsubscribe();
      resolve();
    }
  });
}

channel.onmessage = ({ data }: MessageEvent<unknown>) => {
  if (!isRecord(data)) return;
  const { token, expired } = session.get();
  if (data.kind === "out") signOut(false);
  if (data.kind === "who" && token !== undefined && !expired) channel.postMessage({ kind: "token", token });
  if (data.kind === "token" && token === undefined && typeof data.token === "string") signIn(data.token);
};

/** What a token says of its bearer; nothing here is trusted, the server checks. */
export interface Claims {
  subject: string;
  scopes: readonly string[];
  /** When it ends; milliseconds since 1970. */
  expiresAt: number | undefined;
}

/** Reads a token without checking it; undefined when it is none. */
export function claimsOf(token: string | undefined): Claims | undefined {
  try {
    const part = (token ?? "").split(".")[1] ?? "";
    const bytes = Uint8Array.from(atob(part.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    if (!isRecord(claims) || typeof claims.sub !== "string") return undefined;
    const scope = claims.scope;
    const scopes = Array.isArray(scope) ? scope.map(String) : String(scope ?? "").split(" ");
    return { subject: claims.sub, scopes, expiresAt: typeof claims.exp === "number" ? claims.exp * 1000 : undefined };
  } catch {
    return undefined;
  }
}

/** Whether the bearer of the token may do everything. */
export function isAdmin(current: Session): boolean {
  return claimsOf(current.token)?.scopes.includes("admin") ?? false;
}
