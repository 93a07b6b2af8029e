import assert from "node:assert/strict";
import { test } from "node:test";

import { readFrames } from "../src/client/frames.ts";

async function read(...chunks: (string | Uint8Array)[]): Promise<[string | undefined, string, string][]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk);
      controller.close();
    },
  });
  const found: [string | undefined, string, string][] = [];
  for await (const frames of readFrames(body)) for (const f of frames) found.push([f.id, f.event ?? "", f.data]);
  return found;
}

const FRAME = "id: 1\nevent: e\ndata: é€\n\n";

test("a frame cut anywhere, even within a character, is the same frame", async () => {
  const bytes = new TextEncoder().encode(FRAME);
  for (let cut = 0; cut <= bytes.length; cut++) {
    assert.deepEqual(await read(bytes.slice(0, cut), bytes.slice(cut)), [["1", "e", "é€"]], `cut at ${cut}`);
  }
});

for (const [name, text, expected] of [
  ["all ends of lines", "id: 1\r\ndata: a\r\n\r\nid: 2\rdata: b\r\rid: 3\ndata: c\n\n", [["1", "", "a"], ["2", "", "b"], ["3", "", "c"]]],
  ["a leading byte order mark", "\uFEFFid: 1\ndata: a\n\n", [["1", "", "a"]]],
  ["comments and retry before the first frame", ": keep-alive\nretry: 3000\nid: 1\ndata: a\n\n", [["1", "", "a"]]],
  ["data of several lines", "data: a\ndata: b\n\n", [[undefined, "", "a\nb"]]],
  ["only one blank after the colon is dropped", "data:  a\n\n", [[undefined, "", " a"]]],
  ["a last block without its blank line is no frame", "data: a\n\ndata: b\n", [[undefined, "", "a"]]],
  ["a block without data is no frame", "id: 7\nevent: x\n\n", []],
] as const) {
  test(name, async () => assert.deepEqual(await read(text), expected));
}
