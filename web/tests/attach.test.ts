import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { type Api, Attachment, BACK_OFF, type Link, type Origin, type TaskEvent, waitBefore } from "../src/client/index.ts";
import { hangUp, json, ScriptedServer, stream, until, whole } from "./server.ts";

const REQUEST = { description: "d", selectedAgents: ["a"] };
const NEW: Origin = { request: REQUEST, key: "k1" };

function attach(test: TestContext, api: Api, origin: Origin, options = {}) {
  const events: TaskEvent[] = [];
  const links: Link[] = [];
  let unreadable = 0;
  const attachment = new Attachment(api, origin, {
    onEvents: (fresh) => void events.push(...fresh),
    onLink: (link) => void links.push(link),
    onUnreadable: () => void unreadable++,
  }, options);
  const running = attachment.run();
  test.after(() => attachment.close());
  return {
    attachment, running, links,
    seqs: () => events.map((event) => event.seq),
    state: () => links.at(-1)?.state,
    states: () => links.map((link) => link.state),
    unreadable: () => unreadable,
  };
}

test("the answer of the POST is the stream, read to its end", async (t) => {
  const server = await ScriptedServer.start(t, stream(whole().frames()));
  const { running, seqs, states } = attach(t, server.api(), NEW);
  await running;
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(states(), ["connecting", "live", "ended"]);
  assert.equal(server.asked[0]?.headers["idempotency-key"], "k1");
  assert.deepEqual(JSON.parse(server.asked[0]?.body ?? ""), REQUEST);
});

test("a cut stream is resumed by GET after its last number, repeats are dropped, nothing is posted twice", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 3), "cut"), stream(log.frames(2, 6)));
  const { running, seqs } = attach(t, server.api(), NEW, { wait: () => 1 });
  await running;
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(server.asked.map((asked) => [asked.method, asked.path, asked.headers["last-event-id"]]), [
    ["POST", "/api/agents/execute/stream", undefined],
    ["GET", "/api/tasks/t1/stream", "3"],
  ]);
});

test("a POST without an answer is repeated with its key", async (t) => {
  const server = await ScriptedServer.start(t, hangUp, stream(whole().frames()));
  const { running, seqs } = attach(t, server.api(), NEW, { wait: () => 1 });
  await running;
  assert.deepEqual(server.asked.map((asked) => [asked.method, asked.headers["idempotency-key"]]), [["POST", "k1"], ["POST", "k1"]]);
  assert.equal(seqs().length, 6);
});

test("it waits 1, 2, 4, 8 and 10 seconds, then the connection is lost until somebody asks", async (t) => {
  const server = await ScriptedServer.start(t, ...Array(6).fill(hangUp), stream(whole().frames()));
  const waits: number[] = [];
  const wait = (attempt: number) => (waits.push(waitBefore(attempt)), 1);
  const { attachment, running, links, state } = attach(t, server.api(), { taskId: "t1", after: 0 }, { wait });
  await until(() => state() === "lost");
  assert.deepEqual(waits, [...BACK_OFF]);
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 10_000]);
  assert.deepEqual(links.flatMap((link) => (link.state === "waiting" ? [link.attempt] : [])), [1, 2, 3, 4, 5]);
  assert.equal(server.asked.length, 6);
  attachment.wake();
  await running;
  assert.equal(state(), "ended");
});

test("an event sets the count back, an answer alone does not", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, hangUp, stream([], "cut"), stream(log.frames(1, 1), "cut"), stream(log.frames(2)));
  const attempts: number[] = [];
  const wait = (attempt: number) => (attempts.push(attempt), 1);
  const { running } = attach(t, server.api(), { taskId: "t1", after: 0 }, { wait });
  await running;
  assert.deepEqual(attempts, [1, 2, 1]);
});

test("an answer that ends without the end of the task is a lost connection; after the last event it is not", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 5), "cut"), stream(log.frames(6), "cut"));
  const { attachment, running, state, states } = attach(t, server.api(), { taskId: "t1", after: 0 });
  await until(() => state() === "waiting");
  attachment.wake();
  await running;
  assert.equal(states().at(-1), "ended");
});

test("204 means that everything was read", async (t) => {
  const server = await ScriptedServer.start(t, (response) => void response.writeHead(204).end());
  const { running, states } = attach(t, server.api(), { taskId: "t1", after: 6 });
  await running;
  assert.deepEqual(states(), ["connecting", "ended"]);
});

test("a refused token waits for a new one and goes on after the last number", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 2), "cut"), json(401), stream(log.frames(3)));
  let token = "old";
  const { attachment, running, state, seqs } = attach(t, server.api(() => token), NEW);
  await until(() => state() === "waiting");
  attachment.wake();
  await until(() => state() === "signed-out");
  token = "new";
  attachment.wake();
  await running;
  assert.deepEqual(server.asked.map((asked) => asked.headers.authorization), ["Bearer old", "Bearer old", "Bearer new"]);
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
});

for (const status of [400, 403, 404, 409, 422]) {
  test(`${status} is final and carries the words of the server`, async (t) => {
    const errors = [{ pointer: "/selectedAgents/0", detail: "is unknown" }];
    const server = await ScriptedServer.start(t, json(status, { type: "/problems/x-y", detail: "No.", errors }));
    const { running, links } = attach(t, server.api(), NEW);
    await running;
    const link = links.at(-1);
    assert.ok(link?.state === "refused");
    assert.deepEqual([link.problem.status, link.problem.slug, link.problem.message, link.problem.errors], [status, "x-y", "No.", errors]);
    assert.equal(server.asked.length, 1);
  });
}

test("503 waits as long as the server asks", async (t) => {
  const server = await ScriptedServer.start(t, json(503, {}, { "retry-after": "7" }), stream(whole().frames()));
  const waits: number[] = [];
  const wait = (attempt: number, retryAfter?: number) => (waits.push(waitBefore(attempt, retryAfter)), 1);
  const { running } = attach(t, server.api(), { taskId: "t1", after: 0 }, { wait });
  await running;
  assert.deepEqual(waits, [7000]);
});

test("what cannot be read is noted and skipped, and unknown types pass", async (t) => {
  const log = whole();
  const frames = log.frames();
  frames[2] = "id: 3\nevent: agent_progress\ndata: {broken\n\n";
  frames[3] = 'id: 4\nevent: agent_dance\ndata: {"type":"agent_dance","taskId":"t1","seq":4,"timestamp":"2026-01-01T00:00:00.000Z"}\n\n';
  const server = await ScriptedServer.start(t, stream(frames));
  const { running, seqs, unreadable } = attach(t, server.api(), NEW);
  await running;
  assert.deepEqual(seqs(), [1, 2, 4, 5, 6]);
  assert.equal(unreadable(), 1);
});

test("a gap in the numbers is asked for again", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream([...log.frames(1, 2), ...log.frames(4, 6)], "open"), stream(log.frames(3)));
  const { attachment, running, state, seqs } = attach(t, server.api(), NEW);
  await until(() => state() === "waiting");
  attachment.wake();
  await running;
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
  assert.equal(server.asked[1]?.headers["last-event-id"], "2");
});

test("a released connection is given back and taken again where it was", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 3), "open"), stream(log.frames(4)));
  const { attachment, running, state, seqs } = attach(t, server.api(), NEW);
  await until(() => seqs().length === 3);
  attachment.release();
  await until(() => state() === "released");
  assert.equal(server.asked.length, 1);
  attachment.hold();
  await running;
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
});

test("a connection on which nothing comes, not even a comment, counts as dead", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 3), "open"), stream(log.frames(4)));
  const { attachment, running, state, seqs } = attach(t, server.api(), NEW, { deadAfter: 50 });
  await until(() => state() === "waiting");
  attachment.wake();
  await running;
  assert.deepEqual(seqs(), [1, 2, 3, 4, 5, 6]);
});

test("a doubted connection is asked again at once", async (t) => {
  const log = whole();
  const server = await ScriptedServer.start(t, stream(log.frames(1, 3), "open"), stream(log.frames(4)));
  const { attachment, running, seqs, states } = attach(t, server.api(), NEW);
  await until(() => seqs().length === 3);
  attachment.check();
  await running;
  assert.deepEqual(states(), ["connecting", "live", "connecting", "live", "ended"]);
});

test("closing ends everything", async (t) => {
  const server = await ScriptedServer.start(t, stream(whole().frames(1, 3), "open"));
  const { attachment, running, seqs } = attach(t, server.api(), NEW);
  await until(() => seqs().length === 3);
  attachment.close();
  await running;
  assert.equal(server.asked.length, 1);
});
