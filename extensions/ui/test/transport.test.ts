import { describe, expect, it, vi } from "vitest";
import { apiOf, filled, linesOf } from "../src/api/client";
import { ApiProblem } from "../src/api/problem";
import { commTransport, type Comm } from "../src/transport/comm";
import { addressOf } from "../src/transport/transport";
import { FakeServer, problem, stream } from "./fake-server";

class FakeComm implements Comm {
  readonly sent: Record<string, unknown>[] = [];
  private readonly ends = new Set<(content: unknown, buffers: DataView[]) => void>();
  private readonly heard = new Set<(content: unknown, buffers: DataView[]) => void>();
  send(content: unknown): void {
    this.sent.push(content as Record<string, unknown>);
  }
  on(event: "msg:custom" | "comm_live_update", heard: (content: unknown, buffers: DataView[]) => void): void {
    (event === "msg:custom" ? this.heard : this.ends).add(heard);
  }
  off(_: "msg:custom", heard: (content: unknown, buffers: DataView[]) => void): void {
    this.heard.delete(heard);
  }
  /** The page finds the comm changed: the kernel was restarted, or the connection is back. */
  change(): void {
    for (const ended of this.ends) ended(null, []);
  }
  say(content: object, text?: string): void {
    const buffers = text === undefined ? [] : [new DataView(new TextEncoder().encode(text).buffer)];
    for (const heard of this.heard) heard(content, buffers);
  }
}

describe("addresses", () => {
  it("encodes a reference as one segment of the path", () => {
    expect(filled("/catalog/items/{ref}", { ref: "a|b/c|d%20e" })).toBe("catalog/items/a%7Cb%2Fc%7Cd%2520e");
  });
  it("leaves out what is not given in a query", () => {
    expect(addressOf("/x/", "jobs", { since: 0, level: undefined, wait: null })).toBe("/x/jobs?since=0");
  });
});

describe("calls", () => {
  it("turns a refusal into a problem with its hint", async () => {
    const server = new FakeServer().on("GET site", problem(422, { code: "invalid_input", message: "No.", hint: "Yes." }));
    await expect(apiOf(server).get("/site", {})).rejects.toMatchObject({ code: "invalid_input", hint: "Yes.", status: 422 });
  });
  it("takes a proxy's page for a server that is away", async () => {
    const server = new FakeServer().on("GET site", () => new Response("<html>503</html>", { status: 503 }));
    await expect(apiOf(server).get("/site", {})).rejects.toMatchObject({ code: "server_away", retryable: true });
  });
  it("says that the network is gone", async () => {
    const server = new FakeServer().on("GET site", () => {
      throw new TypeError("fetch failed");
    });
    await expect(apiOf(server).get("/site", {})).rejects.toBeInstanceOf(ApiProblem);
  });
  it("gives lines as they come, also when they are cut", async () => {
    const { response, line, end } = stream();
    const got: unknown[] = [];
    const reading = (async () => {
      for await (const value of linesOf(response)) got.push(value);
    })();
    line({ text: "a\u2028b" });
    await vi.waitFor(() => expect(got).toEqual([{ text: "a\u2028b" }]));
    line({ n: 2 });
    end();
    await reading;
    expect(got).toHaveLength(2);
  });
});

describe("through the kernel", () => {
  it("carries a streamed answer", async () => {
    const comm = new FakeComm();
    const answer = commTransport(comm, "k").send("catalog/search", { method: "POST", body: { limit: 1 } });
    await vi.waitFor(() => expect(comm.sent).toHaveLength(1));
    expect(comm.sent[0]).toMatchObject({ type: "request", method: "POST", path: "catalog/search", body: '{"limit":1}' });
    const id = comm.sent[0]?.id;
    comm.say({ type: "head", id, status: 200, headers: { "content-type": "text/plain" } });
    const response = await answer;
    comm.say({ type: "body", id }, "one ");
    comm.say({ type: "body", id }, "two");
    comm.say({ type: "end", id });
    expect(await response.text()).toBe("one two");
  });
  it("tells the kernel when nobody waits any more", async () => {
    const comm = new FakeComm();
    const control = new AbortController();
    const answer = commTransport(comm, "k").send("x", { signal: control.signal });
    await vi.waitFor(() => expect(comm.sent).toHaveLength(1));
    control.abort();
    await expect(answer).rejects.toMatchObject({ name: "AbortError" });
    expect(comm.sent[1]).toMatchObject({ type: "cancel", id: comm.sent[0]?.id });
  });
  it("fails as a network does when the kernel cannot ask", async () => {
    const comm = new FakeComm();
    const answer = commTransport(comm, "k").send("x");
    await vi.waitFor(() => expect(comm.sent).toHaveLength(1));
    comm.say({ type: "failed", id: comm.sent[0]?.id, message: "refused" });
    await expect(answer).rejects.toBeInstanceOf(TypeError);
  });
  it("says that the kernel has ended, when it was restarted or does not answer any more", async () => {
    vi.useFakeTimers();
    try {
      const comm = new FakeComm();
      const transport = commTransport(comm, "k");
      const cut = expect(transport.send("x")).rejects.toMatchObject({ code: "kernel_ended" });
      await vi.advanceTimersByTimeAsync(0);
      comm.change();
      await cut;
      const unheard = expect(transport.send("y")).rejects.toMatchObject({ code: "kernel_ended", hint: expect.stringMatching(/run the cell again/i) });
      await vi.advanceTimersByTimeAsync(60_000);
      await unheard;
      // It was the connection only: the kernel answers, and may take its time.
      const answer = transport.send("z");
      await vi.advanceTimersByTimeAsync(0);
      comm.say({ type: "head", id: comm.sent.at(-1)?.id, status: 204, headers: {} });
      expect((await answer).status).toBe(204);
      const slow = transport.send("slow");
      await vi.advanceTimersByTimeAsync(60_000);
      comm.say({ type: "head", id: comm.sent.at(-1)?.id, status: 204, headers: {} });
      expect((await slow).status).toBe(204);
    } finally {
      vi.useRealTimers();
    }
  });
});
