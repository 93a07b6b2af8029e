import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";

import { Api, type TaskEvent } from "../src/client/index.ts";

export interface Asked {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
}

type Answer = (response: ServerResponse, asked: Asked) => void | Promise<void>;

/** A real HTTP server that answers its requests one after another as a test says. */
export class ScriptedServer {
  readonly asked: Asked[] = [];
  readonly answers: Answer[];
  readonly #server: Server;
  readonly #waiting: (() => void)[] = [];

  private constructor(answers: Answer[]) {
    this.answers = answers;
    this.#server = createServer((request, response) => {
      let body = "";
      request.on("data", (piece) => (body += piece));
      request.on("end", () => {
        const asked = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body };
        this.asked.push(asked);
        for (const wake of this.#waiting.splice(0)) wake();
        const answer = this.answers.shift();
        if (answer === undefined) response.writeHead(500).end("{}");
        else void answer(response, asked);
      });
    });
  }

  static async start(test: TestContext, ...answers: Answer[]): Promise<ScriptedServer> {
    const scripted = new ScriptedServer(answers);
    await new Promise<void>((resolve) => scripted.#server.listen(0, "127.0.0.1", resolve));
    test.after(() => {
      scripted.#server.closeAllConnections();
      scripted.#server.close();
    });
    return scripted;
  }

  get base(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/`;
  }

  api(token: () => string | undefined = () => "token"): Api {
    return new Api({ base: this.base, token });
  }

  /** Waits until so many requests have come. */
  async requests(count: number): Promise<void> {
    while (this.asked.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Refuse connections from now on. */
  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** A stream with these frames; then it goes on (`open`), ends properly (`end`) or is cut. */
export function stream(frames: string[], then: "open" | "end" | "cut" = "end", id = "t1"): Answer {
  return async (response) => {
    response.writeHead(200, { "content-type": "text/event-stream", "x-task-id": id });
    response.write(": keep-alive\n");
    await new Promise((resolve) => response.write(frames.join("") || ": nothing\n", resolve));
    if (then === "end") response.end(`event: complete\ndata: {"taskId":"${id}"}\n\n`);
    if (then === "cut") response.end();
  };
}

/** An answer with a status and a JSON body. */
export function json(status: number, body: unknown = {}, headers: Record<string, string> = {}): Answer {
  return (response) => void response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

/** The connection is cut without an answer. */
export const hangUp: Answer = (response) => void response.destroy();

export const AGENT = { agentRole: "a", agentName: "Ann", agentDescription: "Adds" };
export const OTHER = { agentRole: "b", agentName: "Bob", agentDescription: "Builds" };

/** Makes events of one task, numbered from 1. */
export class Log {
  readonly events: TaskEvent[] = [];

  add(type: TaskEvent["type"], fields: Record<string, unknown> = {}): this {
    const seq = this.events.length + 1;
    const timestamp = new Date(Date.UTC(2026, 0, 1, 12) + seq * 1000).toISOString();
    this.events.push({ type, taskId: "t1", seq, timestamp, ...fields } as TaskEvent);
    return this;
  }

  created(...agents: (typeof AGENT)[]): this {
    const selectedAgents = agents.map((agent) => agent.agentRole);
    return this.add("task_created", { title: "T", selectedAgents, executionMode: "parallel", agents });
  }

  start(agent = AGENT, attempt = 1): this {
    return this.add("agent_start", { ...agent, attempt });
  }

  progress(fields: Record<string, unknown>, agent = AGENT): this {
    return this.add("agent_progress", { agentRole: agent.agentRole, attempt: 1, ...fields });
  }

  deliver(agent = AGENT): this {
    return this.add("agent_complete", {
      agentRole: agent.agentRole, attempt: 1, status: "success", executionTime: 5, hasArtifacts: false, artifacts: [],
    });
  }

  complete(): this {
    return this.add("task_complete", { totalExecutionTime: 9, outputs: 1, failedAgents: [] });
  }

  /** The frames of events `from` to `to`, both included. */
  frames(from = 1, to = this.events.length): string[] {
    return this.events
      .slice(from - 1, to)
      .map((event) => `id: ${event.seq}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  }
}

/** A whole task: created, started, two pieces of text, delivered, completed: numbers 1 to 6. */
export function whole(): Log {
  return new Log().created(AGENT).start().progress({ content: "one " }).progress({ content: "two" }).deliver().complete();
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what = holds.toString()): Promise<void> {
  const end = performance.now() + 10_000;
  while (!holds()) {
    if (performance.now() > end) throw new Error(`It did not happen: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
