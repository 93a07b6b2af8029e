import { ArrowDownToLine, Check, Copy, Download, WrapText } from "lucide-react";
import { memo, type RefObject, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Virtualizer } from "virtua";

import { announce, toast } from "../app/announce.ts";
import { preferences } from "../app/preferences.ts";
import { useStore } from "../app/store.ts";
import type { LogLine } from "../client/view.ts";
import { IconButton } from "./Button.tsx";
import { counted, timeOfDay } from "./format.ts";
import { plain } from "./plain.ts";
import { copy, save } from "./save.ts";

/** Below this all lines are in the document, so that the browser's own search finds them. */
const ALL_LINES = 500;
const HAND_MILLISECONDS = 500; // a wheel goes on rolling for a moment
const WORDS = { info: "info", success: "ok", warning: "warn", error: "error", thought: "think" } as const;

export interface PanelLine extends Omit<LogLine, "seq"> {
  seq: number;
  /** What stands before the text, e.g. a slot. */
  tag?: string;
}

/** A log like a good terminal: search with a count, levels, a follow that yields to the reader, copies. */
export default function LogPanel({ lines, name, label, tools }: {
  lines: readonly PanelLine[];
  /** Of the file it is saved as. */
  name: string;
  label: string;
  tools?: React.ReactNode;
}) {
  const chosen = useStore(preferences);
  const [level, setLevel] = useState(chosen.logLevel);
  const [search, setSearch] = useState("");
  const [wrap, setWrap] = useState(chosen.logWrap);
  const [copied, setCopied] = useState(false);
  const shown = useMemo(() => filter(lines, level, search), [lines, level, search]);
  const box = useRef<HTMLDivElement>(null);
  const { follow, setFollow, fresh } = useFollow(box, shown.length, chosen.logFollow);
  const text = () => shown.map(asText).join("\n");
  const copyShown = async () => {
    if (!(await copy(text()))) return toast("The browser does not let this page copy; download instead.", "error");
    setCopied(true);
    announce("Copied");
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <div className="log">
      <div className="log-tools">
        <input type="search" placeholder="Search" aria-label={`Search in: ${label}`} value={search} onChange={(event) => setSearch(event.target.value)} />
        <span className="muted small numbers" role="status">{search === "" ? counted(shown.length, "line") : `${counted(shown.length, "line")} found`}</span>
        <select aria-label="Level" value={level} onChange={(event) => setLevel(event.target.value as typeof level)}>
          <option value="all">All levels</option>
          <option value="warning">Warnings, errors</option>
          <option value="error">Errors</option>
        </select>
        <label className="check small"><input type="checkbox" checked={follow} onChange={(event) => setFollow(event.target.checked)} />Follow</label>
        <IconButton icon={WrapText} label="Wrap long lines" pressed={wrap} onClick={() => setWrap(!wrap)} />
        <IconButton icon={copied ? Check : Copy} label="Copy what is shown" onClick={() => void copyShown()} />
        <IconButton icon={Download} label="Download what is shown" onClick={() => save(new Blob([text(), "\n"], { type: "text/plain" }), name)} />
        {tools}
      </div>
      <div ref={box} className="log-lines" data-wrap={wrap} role="log" aria-live="off" aria-label={label} tabIndex={0}>
        {shown.length === 0 && <p className="muted small log-none">{lines.length === 0 ? "Nothing yet." : "No line fits."}</p>}
        {shown.length <= ALL_LINES ? shown.map((line) => <Line key={line.seq} line={line} search={search} />) : (
          <Virtualizer scrollRef={box as RefObject<HTMLElement>}>{shown.map((line) => <Line key={line.seq} line={line} search={search} />)}</Virtualizer>
        )}
      </div>
      {!follow && fresh > 0 && (
        <button type="button" className="log-latest" onClick={() => setFollow(true)}>
          <ArrowDownToLine size={14} aria-hidden="true" />Jump to latest ({fresh} new)
        </button>
      )}
    </div>
  );
}

/** Stays at the end until the reader scrolls up; counts what came since. */
function useFollow(box: RefObject<HTMLDivElement | null>, count: number, initially: boolean) {
  const [follow, setFollow] = useState(initially);
  const [read, setRead] = useState(count);
  useLayoutEffect(() => {
    const element = box.current;
    if (!follow || element === null) return;
    element.scrollTop = element.scrollHeight;
    // A long list learns its height only now.
    const again = requestAnimationFrame(() => (element.scrollTop = element.scrollHeight));
    return () => cancelAnimationFrame(again);
  }, [follow, count, box]);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let last = element.scrollTop;
    let touched = 0; // when the reader's own hand was last at it; all other scrolling is ours
    let dragging = false;
    const touch = () => void (touched = Date.now());
    const grab = () => void (dragging = true);
    const drop = () => void (dragging = false);
    const scrolled = () => {
      const top = element.scrollTop;
      const atEnd = element.scrollHeight - top - element.clientHeight < 24;
      if (dragging || Date.now() - touched < HAND_MILLISECONDS) {
        if (atEnd) setFollow(true);
        else if (top < last) setFollow(false);
      }
      last = top;
    };
    const hands = ["wheel", "touchmove", "keydown"] as const;
    element.addEventListener("scroll", scrolled, { passive: true });
    for (const hand of hands) element.addEventListener(hand, touch, { passive: true });
    element.addEventListener("pointerdown", grab);
    addEventListener("pointerup", drop);
    return () => {
      element.removeEventListener("scroll", scrolled);
      for (const hand of hands) element.removeEventListener(hand, touch);
      element.removeEventListener("pointerdown", grab);
      removeEventListener("pointerup", drop);
    };
  }, [box]);
  useEffect(() => {
    if (follow) setRead(count);
  }, [follow, count]);
  return { follow, setFollow, fresh: Math.max(0, count - read) };
}

function filter(lines: readonly PanelLine[], level: "all" | "warning" | "error", search: string): readonly PanelLine[] {
  const wanted = search.toLowerCase();
  return lines.filter((line) =>
    (level === "all" || line.level === "error" || (level === "warning" && line.level === "warning")) &&
    (wanted === "" || line.text.toLowerCase().includes(wanted)));
}

const Line = memo(function Line({ line, search }: { line: PanelLine; search: string }) {
  return (
    <p className="log-line" data-level={line.level}>
      <time dateTime={new Date(line.at).toISOString()}>{timeOfDay(line.at)}</time>{" "}
      <span className="log-level">{WORDS[line.level]}</span>{" "}
      {line.tag !== undefined && <span className="log-tag">{line.tag} </span>}
      <bdi className="log-text">{marked(plain(line.text), search)}</bdi>
    </p>
  );
});

function marked(text: string, search: string) {
  if (search === "") return text;
  const parts: React.ReactNode[] = [];
  const wanted = search.toLowerCase();
  const lower = text.toLowerCase();
  let at = 0;
  for (let found = lower.indexOf(wanted); found >= 0; found = lower.indexOf(wanted, at)) {
    parts.push(text.slice(at, found), <mark key={found}>{text.slice(found, found + search.length)}</mark>);
    at = found + search.length;
  }
  return [...parts, text.slice(at)];
}

function asText(line: PanelLine): string {
  return `${new Date(line.at).toISOString()} ${WORDS[line.level].padEnd(5)} ${line.tag === undefined ? "" : `${line.tag} `}${line.text}`;
}
