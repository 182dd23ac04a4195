import { screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { describe, expect, it } from "vitest";
import type { JobSummary } from "../src/api/schema";
import { Shell } from "../src/shell/Shell";
import { createStore } from "../src/state/store";
import { storage } from "../src/views/storage";
import { staging } from "../src/views/staging";
import { seriousViolations } from "./axe";
import { FakeServer, problem, type Asked } from "./fake-server";
import { show } from "./render";

const HOSTILE = "<img src=x onerror=\"globalThis.hit=true\">";
const GB = 1e9;

const job = (changes: Partial<JobSummary> = {}): JobSummary => ({
  id: "job-1",
  revision: 1,
  spec: { engine: "staging", title: "Lake scenes", backend: "", vo: "aqua" },
  status: "running",
  progress: 0.25,
  message: "reading",
  created: "2026-01-01T00:00:00Z",
  updated: "2026-01-01T00:00:00Z",
  started: null,
  ended: null,
  phases: [],
  wanted: "",
  owner: "ada",
  cloned_from: "",
  transferred: { files_done: 3, files_total: 12, bytes_done: GB, bytes_total: 4 * GB },
  engine_id: "",
  ui_path: "",
  result_count: 0,
  usage: {},
  costs: null,
  error: null,
  actions: ["pause", "cancel"],
  ...changes,
});
const listed = (...jobs: JobSummary[]) => ({ jobs, deleted: [], revision: 1, whole: true });
const ended = { ended: "2026-01-01T01:00:00Z", progress: 1 };
const shell = () => <Shell views={[staging]} at={createStore("staging")} />;

describe("stagings", () => {
  it("tell files and bytes, and those of other engines are not among them", async () => {
    await show(shell(), new FakeServer().on("GET jobs", listed(job(), job({ id: "o", spec: { engine: "openeo", title: "A map", backend: "", vo: "" } }))));
    const card = await screen.findByRole("listitem", { name: "Lake scenes" });
    expect(within(card).getByText("3 of 12 files, 1.0 GB of 4.0 GB")).toBeTruthy();
    expect(within(card).getByRole("progressbar").getAttribute("aria-valuenow")).toBe("25");
    expect(screen.queryByText("A map")).toBeNull();
    expect(await seriousViolations()).toEqual([]);
  });

  it("are paused and go on", async () => {
    const user = userEvent.setup();
    const server = new FakeServer().on("GET jobs", listed(job())).on("POST jobs/job-1/pause", {}).on("POST jobs/job-1/resume", {});
    await show(shell(), server);
    const pause = await screen.findByRole("button", { name: "Pause Lake scenes" });
    server.on("GET jobs", listed(job({ status: "paused", actions: ["resume", "cancel"] })));
    await user.click(pause);
    await user.click(await screen.findByRole("button", { name: "Go on with Lake scenes" }));
    await waitFor(() => expect(server.of("POST jobs/job-1/resume")).toHaveLength(1));
  });

  it("that failed say why, and are tried again once however often the button is pressed", async () => {
    const user = userEvent.setup();
    const error = { code: "upstream", message: `The archive refused: ${HOSTILE}`, hint: "Sign in again.", retryable: true, details: {} };
    const server = new FakeServer()
      .on("GET jobs", listed(job({ ...ended, status: "error", error, actions: ["clone", "delete"] })))
      .on("POST jobs/job-1/clone", problem(503, { message: "Your server is busy.", retryable: true }));
    await show(shell(), server);
    expect(await screen.findByText(`The archive refused: ${HOSTILE}`)).toBeTruthy();
    expect(screen.getByText("Sign in again.")).toBeTruthy();
    const again = screen.getByRole("button", { name: "Try Lake scenes again" });
    await user.click(again);
    expect(await screen.findByText("Your server is busy.")).toBeTruthy();
    await user.click(again);
    await waitFor(() => expect(server.of("POST jobs/job-1/clone")).toHaveLength(2));
    const [first, second] = server.of("POST jobs/job-1/clone");
    expect(first?.headers["Idempotency-Key"]).toBe(second?.headers["Idempotency-Key"]);
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
  });

  it("that are done say where their items are and what the catalogue has of them", async () => {
    const user = userEvent.setup();
    const usage = { registered: [{ id: "a", collection: "s2", outcome: "created" }, { id: "b", collection: "s2", outcome: "created" }, { id: "c", collection: "s1", outcome: "unchanged" }] };
    const server = new FakeServer()
      .on("GET jobs", listed(job({ ...ended, status: "finished", usage, result_count: 1, actions: ["clone", "delete"] })))
      .on("GET site", { user: "ada", vos: ["aqua"], grants: [{ bucket: "vo-aqua", prefix: "products/", access: "rw", vo: "aqua", purpose: "products" }] })
      .on("GET storage/places", { places: [{ bucket: "vo-aqua", prefix: "products/", access: "rw", vo: "aqua", purpose: "products", online: true, problem: "", room: null, mount: null }] })
      .on("GET storage/objects", { bucket: "vo-aqua", prefix: "products/S2A/", folders: [], objects: [{ key: "products/S2A/B02.tif", size: 1, modified: null, layer: "" }], next: "" })
      .on("GET jobs/job-1", { results: [{ id: "S2A", assets: { B02: { href: "s3://vo-aqua/products/S2A/B02.tif" } } }] });
    const session = await show(<Shell views={[staging, storage]} at={createStore("staging")} />, server);
    expect(await screen.findByText("2 new in s2, 1 unchanged in s1")).toBeTruthy();
    const details = screen.getByText("1 item, and where it is").closest("details") as HTMLDetailsElement;
    await user.click(screen.getByText("1 item, and where it is"));
    details.open = true;
    details.dispatchEvent(new Event("toggle"));
    expect(await screen.findByText("s3://vo-aqua/products/S2A/")).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
    await user.click(screen.getByRole("button", { name: "Show the files of S2A" }));
    expect(await screen.findByText("B02.tif")).toBeTruthy();
    expect(screen.getByRole("navigation", { name: "Path" }).textContent).toBe("PlacesProducts of aquaS2A");
    expect(session.folder.get()).toBeNull();
  });

  it("that are none lead to the catalogue", async () => {
    const user = userEvent.setup();
    const session = await show(shell(), new FakeServer());
    await user.click(await screen.findByRole("button", { name: "Select items in the catalogue" }));
    expect(session.wanted.get()?.view).toBe("catalogue");
  });
});

describe("a new staging", () => {
  it("says before it starts what is to be fetched, what is there and whether it fits", async () => {
    const user = userEvent.setup();
    const item = { id: "S2A", assets: { B02: { href: "https://x.example/B02.tif", roles: ["data"], "file:size": 3 * GB }, preview: { href: "https://x.example/B02.png", roles: ["thumbnail"], "file:size": 1 } } };
    const server = new FakeServer()
      .on("GET site", { user: "ada", vos: ["aqua"], grants: [{ bucket: "vo-aqua", prefix: "products/", access: "rw", vo: "aqua", purpose: "products" }] })
      .on("GET catalog/items/*", item)
      .on("POST jobs/estimate", { known: true, size: 2 * GB, present_files: 1, present_bytes: GB, room: GB, fits: false, left_out: [] })
      .on("POST stage", job());
    const session = await show(shell(), server);
    session.selection.set(["a|s2|S2A"]);
    await user.click(await screen.findByRole("button", { name: "Stage the selected item…" }));
    expect(await screen.findByText("To be fetched: 2.0 GB.")).toBeTruthy();
    expect(screen.getByText("1 file (1.0 GB) is in the bucket already.")).toBeTruthy();
    expect(screen.getByText(/That is more than the quota leaves/)).toBeTruthy();
    expect(server.of("POST jobs/estimate")[0]?.body).toEqual({ engine: "staging", vo: "aqua", process: { items: [item], assets: null, register: true } });
    expect(await seriousViolations()).toEqual([]);
    await user.click(screen.getByRole("checkbox", { name: /^preview/ }));
    await waitFor(() => expect(server.of("POST jobs/estimate").at(-1)?.body).toMatchObject({ process: { assets: ["B02"] } }));
    await user.click(screen.getByRole("checkbox", { name: /^preview/ }));
    await waitFor(() => expect(server.of("POST jobs/estimate").at(-1)?.body).toMatchObject({ process: { assets: null } }));
    await user.click(screen.getByRole("button", { name: "Stage 3.0 GB" }));
    await waitFor(() => expect((server.of("POST stage")[0] as Asked).body).toMatchObject({ refs: ["a|s2|S2A"], assets: null, vo: "aqua", register: true }));
  });
});
