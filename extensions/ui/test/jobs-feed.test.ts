import { describe, expect, it, vi } from "vitest";
import { apiOf } from "../src/api/client";
import { JobsFeed } from "../src/state/jobs";
import { FakeServer, problem } from "./fake-server";

const job = (id: string, revision: number, status = "running") => ({ id, revision, status, created: `2026-01-0${revision}` });

describe("the list of jobs", () => {
  it("asks for what changed since the last answer when an event comes", async () => {
    const server = new FakeServer().on("GET jobs", ({ query }) =>
      query.since === 0
        ? { jobs: [job("a", 1)], deleted: [], revision: 1, whole: true }
        : { jobs: [job("b", 2)], deleted: ["a"], revision: 3, whole: false },
    );
    const feed = new JobsFeed(apiOf(server), server);
    const stop = feed.watch();
    await vi.waitFor(() => expect(feed.state.get().jobs.map(({ id }) => id)).toEqual(["a"]));
    server.emit({ id: "b", revision: 2 });
    await vi.waitFor(() => expect(feed.state.get().jobs.map(({ id }) => id)).toEqual(["b"]));
    expect(server.of("GET jobs").map(({ query }) => query.since)).toEqual([0, 1]);
    stop();
  });

  it("gathers events that follow each other into one question", async () => {
    const server = new FakeServer();
    const feed = new JobsFeed(apiOf(server), server);
    const stop = feed.watch();
    await vi.waitFor(() => expect(feed.state.get().known).toBe(true));
    for (let revision = 1; revision < 50; revision++) server.emit({ revision });
    await vi.waitFor(() => expect(server.of("GET jobs")).toHaveLength(2));
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(server.of("GET jobs")).toHaveLength(2);
    stop();
  });

  it("keeps what it knows when the server is away, and says so", async () => {
    const server = new FakeServer().on("GET jobs", { jobs: [job("a", 1)], deleted: [], revision: 1, whole: true });
    const feed = new JobsFeed(apiOf(server), server);
    await feed.refresh();
    server.on("GET jobs", problem(503, { message: "Your server is starting.", retryable: true }));
    await feed.refresh();
    expect(feed.state.get().jobs).toHaveLength(1);
    expect(feed.state.get().problem?.message).toBe("Your server is starting.");
  });
});
