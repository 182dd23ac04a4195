/** A transport that answers from a table, and remembers what it was asked. */

import type { JobEvent, Request, Transport } from "../src/transport/transport";

export interface Asked {
  method: string;
  path: string;
  query: Record<string, unknown>;
  body: unknown;
  headers: Record<string, string>;
  signal: AbortSignal | undefined;
}

type Answer = Response | object | string | ((asked: Asked) => Response | object | Promise<Response | object>);

export class FakeServer implements Transport {
  readonly server = `fake:${Math.random()}`;
  readonly asked: Asked[] = [];
  private readonly answers = new Map<string, Answer>();
  private readonly listeners = new Set<{ heard: (event: JobEvent) => void; away: () => void }>();

  constructor() {
    this.on("GET status", { version: "1", user: "test", ready: true, detail: "", mount_mode: "none", mount_detail: "", mounts: [] });
    this.on("GET jobs", { jobs: [], deleted: [], revision: 0, whole: true });
  }

  /** Answer `METHOD path` (a path may end with `*`); the last answer given counts. */
  on(route: string, answer: Answer): this {
    this.answers.set(route, answer);
    return this;
  }

  /** What was asked of a route, the oldest first. */
  of(route: string): Asked[] {
    return this.asked.filter(({ method, path }) => matches(route, `${method} ${path}`));
  }

  /** Tell those who listen. */
  emit(event: Partial<JobEvent>): void {
    const whole = { id: "job", revision: 1, status: "running", progress: null, message: "", ...event };
    for (const { heard } of this.listeners) heard(whole);
  }

  async send(path: string, request: Request = {}): Promise<Response> {
    const method = request.method ?? "GET";
    const { body, query = {}, headers = {}, signal } = request;
    const asked: Asked = { method, path, body, query, headers, signal };
    this.asked.push(asked);
    const found = [...this.answers].reverse().find(([route]) => matches(route, `${method} ${path}`));
    if (!found) return problem(404, { code: "not_found", message: `There is no ${method} ${path}` });
    const answer = typeof found[1] === "function" ? await found[1](asked) : found[1];
    signal?.throwIfAborted();
    if (answer instanceof Response) return answer.clone();
    return new Response(typeof answer === "string" ? answer : JSON.stringify(answer), { status: 200 });
  }

  listen(heard: (event: JobEvent) => void, away: () => void): () => void {
    const listener = { heard, away };
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

function matches(route: string, asked: string): boolean {
  return route.endsWith("*") ? asked.startsWith(route.slice(0, -1)) : route === asked;
}

export function problem(status: number, body: { code?: string; message: string; hint?: string; retryable?: boolean }): Response {
  return new Response(JSON.stringify({ hint: "", retryable: false, request_id: "r1", ...body }), { status });
}

/** A streamed answer whose lines are handed out one by one. */
export function stream(): { response: Response; line(value: object): void; end(): void } {
  let into!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({ start: (controller) => void (into = controller) });
  const response = new Response(body, { status: 200 });
  Object.defineProperty(response, "clone", { value: () => response });
  return {
    response,
    line: (value) => into.enqueue(new TextEncoder().encode(`${JSON.stringify(value)}\n`)),
    end: () => into.close(),
  };
}
