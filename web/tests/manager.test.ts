import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { type ManagerEvents, Problem, type Snapshot, TaskStateManager } from "../src/client/index.ts";
import { AGENT, json, Log, ScriptedServer, stream, until, whole } from "./server.ts";

const REQUEST = { description: "d", selectedAgents: ["a"] };

function snapshot(log: Log, fields: Partial<Snapshot> = {}): Snapshot {
  return {
    taskId: "t1", title: "T", description: "d", status: "running", executionMode: "parallel", selectedAgents: ["a"],
    jobType: "manual", priority: 0, progress: 0, itemsDone: 0, itemsFailed: 0, createdAt: "2026-01-01T12:00:00.000Z",
    activeTime: 0, stuck: false, archived: false, lastEventId: log.events.length, actions: {},
    agents: [{ ...AGENT, status: "running", attempt: 1, content: "from the snapshot" }], ...fields,
  };
}

function manage(t: TestContext, server: ScriptedServer, options = {}) {
  const manager = new TaskStateManager(server.api(), { wait: () => 1, schedule: queueMicrotask, ...options });
  const told: (keyof ManagerEvents)[] = [];
  for (const name of ["taskRestored", "noActiveTask", "taskProgress", "taskCompleted", "taskError"] as const) {
    manager.on(name, () => told.push(name));
  }
  t.after(() => manager.leave());
  return { manager, told, view: () => manager.followed?.view };
}

function memory() {
  const values = new Map<string, string>();
  return {
    getItem: (name: string) => values.get(name) ?? null,
    setItem: (name: string, value: string) => void values.set(name, value),
    removeItem: (name: string) => void values.delete(name),
  };
}

test("a started task is followed to its end", async (t) => {
  const server = await ScriptedServer.start(t, stream(whole().frames()));
  const { manager, told, view } = manage(t, server);
  assert.equal(await manager.startTask(REQUEST), "t1");
  await until(() => told.includes("taskCompleted"));
  assert.equal(told[0], "taskProgress");
  assert.equal(view()?.agents[0]?.content, "one two");
});

test("the same start twice at once is one request", async (t) => {
  const server = await ScriptedServer.start(t, stream(whole().frames()));
  const { manager } = manage(t, server);
  assert.deepEqual(await Promise.all([manager.startTask(REQUEST), manager.startTask({ ...REQUEST })]), ["t1", "t1"]);
  assert.equal(server.asked.length, 1);
});

test("a start that a reload cut off goes on with its key", async (t) => {
  const storage = memory();
  const server = await ScriptedServer.start(t, () => {}, stream(whole().frames()));
  const before = manage(t, server, { storage });
  void before.manager.startTask(REQUEST);
  await server.requests(1);
  before.manager.leave();
  const { manager } = manage(t, server, { storage });
  const pending = manager.pendingTask();
  assert.deepEqual(pending?.request, REQUEST);
  await manager.startTask(pending!.request);
  const keys = server.asked.map((asked) => asked.headers["idempotency-key"]);
  assert.equal(keys[0], keys[1]);
  assert.equal(manager.pendingTask(), undefined);
});

test("a refused start says why, and the next one has another key", async (t) => {
  const server = await ScriptedServer.start(t, json(422, { detail: "No." }), stream(whole().frames()));
  const { manager, told } = manage(t, server);
  await assert.rejects(manager.startTask(REQUEST), (error) => error instanceof Problem && error.message === "No.");
  assert.deepEqual(told, ["taskError"]);
  await manager.startTask(REQUEST);
  assert.notEqual(server.asked[0]?.headers["idempotency-key"], server.asked[1]?.headers["idempotency-key"]);
});

test("an unfinished task is restored once and followed: the snapshot first, then the log from its beginning", async (t) => {
  const log = whole();
  const now = snapshot(log, { lastEventId: 4 });
  const server = await ScriptedServer.start(t, json(200, { tasks: [now] }), json(200, now), stream(log.frames()));
  const { manager, told, view } = manage(t, server);
  const restored = manager.initialize();
  assert.equal(manager.initialize(), restored);
  await restored;
  assert.equal(told[0], "taskRestored");
  assert.equal(view()?.agents[0]?.content, "from the snapshot");
  await until(() => told.includes("taskCompleted"));
  assert.equal(view()?.agents[0]?.content, "one two");
  assert.equal(view()?.agents[0]?.log.length, 2);
  assert.equal(view()?.description, "d");
});

test("a very long log is followed from the snapshot on", async (t) => {
  const log = whole();
  const at = 30_000;
  const late = log.frames(3, 6).map((frame, index) => frame.replace(/id: \d+/, `id: ${at + 1 + index}`));
  const now = snapshot(log, { lastEventId: at });
  const server = await ScriptedServer.start(t, stream(late));
  const { manager, view } = manage(t, server);
  manager.follow(now);
  await until(() => view()?.status === "completed");
  assert.equal(server.asked[0]?.headers["last-event-id"], String(at));
  assert.equal(view()?.agents[0]?.content, "from the snapshotone two");
  assert.equal(manager.followed?.linesFrom, at);
});

test("nothing to restore is told", async (t) => {
  const server = await ScriptedServer.start(t, json(200, { tasks: [] }));
  const { manager, told } = manage(t, server);
  await manager.initialize();
  assert.deepEqual(told, ["noActiveTask"]);
});

test("a failed task is told with its words", async (t) => {
  const log = new Log().created(AGENT).start().add("task_error", { status: "failed", error: "E", code: "x", totalExecutionTime: 1 });
  const server = await ScriptedServer.start(t, stream(log.frames()));
  const { manager } = manage(t, server);
  const errors: ManagerEvents["taskError"][] = [];
  manager.on("taskError", (error) => errors.push(error));
  await manager.startTask(REQUEST);
  await until(() => errors.length > 0);
  assert.deepEqual(errors, [{ taskId: "t1", error: "E", code: "x", status: "failed" }]);
});

test("stopping cancels the followed task where its log stands", async (t) => {
  const server = await ScriptedServer.start(t, stream(whole().frames(1, 3), "open"), json(202, { taskId: "t1", status: "cancelling" }));
  const { manager, view } = manage(t, server);
  await manager.startTask(REQUEST);
  await until(() => view()?.seq === 3);
  assert.deepEqual(await manager.stopTask(), { taskId: "t1", status: "cancelling" });
  assert.equal(server.asked[1]?.path, "/api/tasks/t1/cancel?lastEventId=3");
});

test("a finished task that was retried elsewhere is followed again once a snapshot shows it", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames()));
  const { manager, view } = manage(t, server);
  await manager.startTask(REQUEST);
  await until(() => manager.followed?.link.state === "ended");
  log.add("task_state", { state: "queued", reason: "retry", done: [] }).start(AGENT, 2);
  server.answers.push(json(200, snapshot(log)), stream(log.frames(7), "open"));
  await manager.getTaskStatus("t1");
  await until(() => view()?.status === "running");
  assert.equal(server.asked.at(-1)?.headers["last-event-id"], "6");
});

test("history, status and reset ask their routes", async (t) => {
  const server = await ScriptedServer.start(t, json(200, { jobs: [] }), json(200, { reset: [], skipped: 0 }), json(403, { detail: "No." }));
  const { manager } = manage(t, server);
  await manager.getJobHistory({ limit: 5, status: "failed" });
  await manager.resetAgentState();
  await assert.rejects(manager.resetAgentState());
  assert.deepEqual(server.asked.map((asked) => `${asked.method} ${asked.path}`), [
    "GET /api/jobs/history?limit=5&status=failed", "POST /api/agents/reset-state", "POST /api/agents/reset-state",
  ]);
});
