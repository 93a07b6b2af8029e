import assert from "node:assert/strict";
import { test } from "node:test";

import { agentRemaining, EMPTY, MAX_LINES, progressOf, reduce, taskRemaining, type TaskView } from "../src/client/index.ts";
import { AGENT, Log, OTHER, whole } from "./server.ts";

const fold = (log: Log, from: TaskView = EMPTY): TaskView => reduce(from, log.events);
const agent = (view: TaskView, role = "a") => view.agents.find((other) => other.role === role);

test("a whole task folds into what it was", () => {
  const view = fold(whole());
  assert.equal(view.status, "completed");
  assert.equal(view.seq, 6);
  assert.equal(agent(view)?.status, "completed");
  assert.equal(agent(view)?.content, "one two");
  assert.equal(progressOf(view), 1);
});

test("one by one or all at once, it is the same view", () => {
  const log = whole();
  const single = log.events.reduce((view, event) => reduce(view, [event]), EMPTY);
  assert.deepEqual(single, fold(log));
});

test("events that are folded in change nothing, not even the object", () => {
  const log = whole();
  const view = fold(log);
  assert.equal(reduce(view, log.events), view);
  assert.equal(reduce(view, []), view);
});

test("the view that was given stays as it was", () => {
  const log = new Log().created(AGENT, OTHER).start().progress({ message: "m", content: "c" });
  const before = reduce(EMPTY, log.events.slice(0, 2));
  const copy = structuredClone(before);
  const after = reduce(before, log.events);
  assert.deepEqual(before, copy);
  assert.equal(after.agents[1], before.agents[1], "an untouched agent is the same object");
});

test("a new attempt withdraws the text of the one before", () => {
  const log = new Log().created(AGENT).start().progress({ content: "old", progress: 0.5 });
  log.add("agent_error", { agentRole: "a", attempt: 1, status: "error", executionTime: 1, error: "E", code: "c", willRetry: true });
  const waiting = fold(log);
  assert.deepEqual([agent(waiting)?.status, agent(waiting)?.error, agent(waiting)?.willRetry], ["pending", "E", true]);
  log.start(AGENT, 2).progress({ content: "new" });
  const again = agent(fold(log));
  assert.deepEqual([again?.content, again?.attempt, again?.error, again?.progress], ["new", 2, undefined, undefined]);
  assert.deepEqual(again?.spans.map((span) => [span.attempt, span.status]), [[1, "error"], [2, "running"]]);
});

test("agents that never started are skipped when the task ends", () => {
  const log = new Log().created(AGENT, OTHER).start();
  log.add("agent_error", { agentRole: "a", attempt: 1, status: "timeout", executionTime: 1, error: "E", code: "timeout", willRetry: false });
  log.add("task_error", { status: "failed", error: "E", code: "agent_failed", totalExecutionTime: 3 });
  const view = fold(log);
  assert.deepEqual(view.agents.map((other) => other.status), ["error", "skipped"]);
  assert.deepEqual([view.status, view.error, view.code], ["failed", "E", "agent_failed"]);
});

test("a retry keeps what was delivered and clears what failed", () => {
  const log = new Log().created(AGENT, OTHER).start().deliver().start(OTHER);
  log.add("agent_error", { agentRole: "b", attempt: 1, status: "error", executionTime: 1, error: "E", code: "c", willRetry: false });
  log.add("task_error", { status: "failed", error: "E", code: "agent_failed", totalExecutionTime: 3 });
  log.add("task_state", { state: "queued", reason: "retry", done: ["a"] });
  const view = fold(log);
  assert.deepEqual(view.agents.map((other) => other.status), ["completed", "pending"]);
  assert.deepEqual([view.status, view.error, view.endedAt], ["queued", undefined, undefined]);
  assert.equal(fold(log.start(OTHER, 2)).status, "running");
});

test("a question makes its agent wait, the answer makes it go on", () => {
  const log = new Log().created(AGENT).start().progress({ question: { questionId: "q", text: "Which?" } });
  log.add("task_state", { state: "waiting", reason: "question" });
  assert.deepEqual([agent(fold(log))?.status, fold(log).status], ["waiting", "waiting"]);
  log.add("task_state", { state: "running", reason: "answer" });
  assert.deepEqual([agent(fold(log))?.status, agent(fold(log))?.question], ["running", undefined]);
});

test("an unknown type only moves the number on, an unknown agent is added", () => {
  const log = new Log().created(AGENT).add("agent_dance" as never, {}).start(OTHER);
  const view = fold(log);
  assert.equal(view.seq, 3);
  assert.equal(agent(view, "b")?.status, "running");
});

test("pieces of a thought are one line of the log, and no part of the output", () => {
  const view = fold(new Log().created(AGENT).start().progress({ reasoning: "I " }).progress({ reasoning: "think" }));
  assert.deepEqual(agent(view)?.log.map((line) => line.text), ["Started", "I think"]);
  assert.equal(agent(view)?.content, "");
});

test("a saved file replaces the one of its name", () => {
  const save = (size: number) => ({ artifact: { name: "f", mediaType: "text/plain", size } });
  const view = fold(new Log().created(AGENT).start().progress(save(1)).progress(save(2)));
  assert.deepEqual(agent(view)?.artifacts.map((file) => file.size), [2]);
});

test("a log keeps its last lines only", () => {
  const log = new Log().created(AGENT).start();
  for (let number = 0; number < MAX_LINES + 10; number++) log.progress({ message: `${number}` });
  const lines = agent(fold(log))?.log;
  assert.equal(lines?.length, MAX_LINES);
  assert.equal(lines?.at(-1)?.text, `${MAX_LINES + 9}`);
});

test("time left is told only when it can be known", () => {
  const log = new Log().created(AGENT, OTHER).start();
  const started = Date.parse(log.events[1]?.timestamp ?? "");
  const at = (view: TaskView, milliseconds: number) => [agentRemaining(view.agents[0]!, started + milliseconds), taskRemaining(view, started + milliseconds)];
  assert.deepEqual(at(fold(log), 60_000), [undefined, undefined]);
  assert.deepEqual(at(fold(log.progress({ progress: 0.05 })), 60_000), [undefined, undefined]);
  assert.deepEqual(at(fold(log.progress({ progress: 0.5 })), 2000), [undefined, undefined]);
  assert.deepEqual(at(fold(log), 60_000), [60_000, undefined]);
  const both = fold(new Log().created(AGENT, OTHER).start().start(OTHER).progress({ progress: 0.5 }).progress({ progress: 0.25 }, OTHER));
  assert.equal(taskRemaining(both, Date.parse("2026-01-01T12:01:03.000Z")), 180_000);
  const told = fold(log.progress({ etaSeconds: 9 }));
  assert.equal(agentRemaining(told.agents[0]!, Date.parse(log.events.at(-1)?.timestamp ?? "") + 4000), 5000);
});
