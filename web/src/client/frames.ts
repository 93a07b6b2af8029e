import { createParser, type EventSourceMessage } from "eventsource-parser";

export type Frame = EventSourceMessage;

const MAX_FRAME_CHARACTERS = 16 * 1024 * 1024; // events are at most 256 KiB; nobody may fill the memory

/**
 * The frames of a stream, chunk by chunk as they arrive.
 *
 * Ends when the connection does, whatever the reason: whether that was the end of the task, only the
 * frames tell.
 *
 * @param onBytes called for every chunk, comments included: the connection is alive.
 */
export async function* readFrames(
  body: ReadableStream<Uint8Array>,
  onBytes: () => void = () => {},
): AsyncGenerator<Frame[]> {
  let batch: Frame[] = [];
  const parser = createParser({
    onEvent: (frame) => batch.push(frame),
    maxBufferSize: MAX_FRAME_CHARACTERS,
  });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      parser.feed(decoder.decode(value, { stream: true }));
      if (batch.length > 0) {
        yield batch;
        batch = [];
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
