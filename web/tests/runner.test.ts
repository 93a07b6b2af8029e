import assert from "node:assert/strict";
import { test } from "node:test";

import { RunnerFollower, startRunner, stopRunner } from "../src/client/index.ts";
import { json, ScriptedServer, until } from "./server.ts";

const status = (state: string) => json(200, { isRunning: state !== "stopped", state, runningTasks: 1, queuedTasks: 0, slots: 4 });
const line = (id: number) => `id: ${id}\ndata: {"timestamp":"2026-01-01T12:00:00.000Z","thread":0,"message":"line ${id}","type":"info"}\n\n`;

function lines(ids: number[], open = false): ReturnType<typeof json> {
  return (response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).write(ids.map(line).join(""));
    if (!open) response.end();
  };
}

test("a start asks first and attaches to a loop that runs", async (t) => {
  const server = await ScriptedServer.start(t, status("running"));
  assert.equal(await startRunner(server.api()), "attached");
  assert.deepEqual(server.asked.map((asked) => asked.method), ["GET"]);
});

test("a start that somebody else was quicker with attaches too", async (t) => {
  const server = await ScriptedServer.start(t, status("stopped"), json(409, { error: "ALREADY_RUNNING", isRunning: true }));
  assert.equal(await startRunner(server.api()), "attached");
});

test("a draining loop is started again, and a refusal is a refusal", async (t) => {
  const server = await ScriptedServer.start(t, status("draining"), json(200), status("stopped"), json(403, { detail: "No." }));
  assert.equal(await startRunner(server.api()), "started");
  await assert.rejects(startRunner(server.api()), /No\./);
});

test("a stop is watched until the loop has stopped", async (t) => {
  const server = await ScriptedServer.start(t, json(200), status("draining"), status("stopped"));
  const told: string[] = [];
  await stopRunner(server.api(), true, ({ state }) => told.push(state), new AbortController().signal);
  assert.deepEqual(told, ["draining", "stopped"]);
  assert.equal(server.asked[0]?.path, "/api/task-runner/stop?mode=now");
});

test("whoever leaves asks no more; the stop goes on", async (t) => {
  const server = await ScriptedServer.start(t, json(200), status("draining"));
  const leaving = new AbortController();
  await stopRunner(server.api(), false, () => leaving.abort(), leaving.signal);
  assert.equal(server.asked.length, 2);
});

test("the log begins with all that is kept and goes on where it was cut", async (t) => {
  const server = await ScriptedServer.start(t, lines([1, 2]), lines([2, 3], true));
  const follower = new RunnerFollower(server.api(), () => {});
  t.after(() => follower.close());
  void follower.run();
  await until(() => follower.link.state === "waiting");
  follower.wake();
  await until(() => follower.lines.length === 3);
  assert.deepEqual(follower.lines.map((one) => one.message), ["line 1", "line 2", "line 3"]);
  assert.deepEqual(server.asked.map((asked) => asked.headers["last-event-id"]), ["0", "2"]);
  follower.clear();
  assert.equal(follower.lines.length, 0);
});
