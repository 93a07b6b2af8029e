import assert from "node:assert/strict";
import { test } from "node:test";

import { Api, Problem } from "../src/client/index.ts";
import { hangUp, json, ScriptedServer } from "./server.ts";

test("whoever is told of a refused token hears which one it was, however late the answer", async (t) => {
  let answer = () => {};
  const server = await ScriptedServer.start(t, (response) => void (answer = () => void response.writeHead(401).end("{}")), json(200, { tasks: [] }));
  let token = "old";
  const refused: (string | undefined)[] = [];
  const api = new Api({ base: server.base, token: () => token, onUnauthorized: (one) => refused.push(one) });
  const late = api.activeTasks();
  await server.requests(1);
  token = "new";
  assert.deepEqual(await api.activeTasks(), []);
  answer();
  await assert.rejects(late);
  assert.deepEqual(refused, ["old"]);
});

test("a server that is away and one that answers nonsense are problems with words", async (t) => {
  const server = await ScriptedServer.start(t, hangUp, (response) => void response.writeHead(502).end("<html>"));
  for (const [status, text] of [[0, /cannot be reached/], [502, /answered 502/]] as const) {
    await assert.rejects(server.api().team(), (error) => error instanceof Problem && error.status === status && text.test(error.message) && error.passes);
  }
});

test("queries leave out what is empty", async (t) => {
  const server = await ScriptedServer.start(t, json(200, { tasks: [] }));
  await server.api().tasks({ q: "a b", status: "", limit: 5, cursor: undefined });
  assert.equal(server.asked[0]?.path, "/api/tasks?q=a+b&limit=5");
});
