import { describe, expect, it, vi } from "vitest";
import { watchEndedJobs } from "../src/state/ended-jobs";
import { FakeServer } from "./fake-server";

const notice = (job: string) => ({ job, title: "T", engine: "spark", status: "finished", message: "", hint: "", results: 1, ended: "2026-01-01T00:00:00Z", seen: false });

describe("ended jobs", () => {
  it("are told once, also those that ended while nobody was there, and are seen then", async () => {
    const unseen = [notice("before")];
    const server = new FakeServer().on("GET notices", () => ({ notices: unseen })).on("POST notices/seen", new Response(null, { status: 204 }));
    const told: string[] = [];
    const stop = watchEndedJobs(server, (notices) => told.push(...notices.map(({ job }) => job)));
    await vi.waitFor(() => expect(server.of("POST notices/seen")[0]?.body).toEqual({ jobs: ["before"] }));
    unseen.push(notice("now"));
    server.emit({ id: "now", status: "running" });
    server.emit({ id: "now", status: "finished" });
    await vi.waitFor(() => expect(told).toEqual(["before", "now"]), { timeout: 3000 });
    stop();
  });
});
