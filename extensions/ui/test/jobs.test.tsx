import { act, screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Shell } from "../src/shell/Shell";
import { createStore } from "../src/state/store";
import { jobs } from "../src/views/jobs";
import { seriousViolations } from "./axe";
import { maps, type FakeMap } from "./fake-map";
import { FakeServer, problem, type Asked } from "./fake-server";
import { job, list } from "./jobs-data";
import { show } from "./render";

vi.mock("../src/map/leaflet-map", () => import("./fake-map"));


const HOSTILE = '<img src=x onerror="globalThis.hit=true"><script>globalThis.hit=true</script>';
const shell = () => <Shell views={[jobs]} at={createStore("jobs")} />;

const failed = job({
  id: "bad",
  status: "error",
  spec: { engine: "spark", title: "Too large", backend: "kubernetes", vo: "aqua" },
  error: { code: "job_failed", message: "The executor was killed.", hint: "Give it more memory.", retryable: true, details: { job_options: { executor_memory: "8g" } } },
  actions: ["clone", "delete"],
});
const running = job({ id: "run", status: "running", progress: 0, actions: ["cancel", "pause", "clone"], spec: { engine: "spark", title: "Busy", backend: "local", vo: "" } });
const line = (id: number, message: string, level = "info") => ({ id, time: "2026-01-01T00:00:00Z", level, message });
const logs = (...lines: object[]) => ({ query }: Asked) => {
  const rest = lines.filter((each) => (each as { id: number }).id > Number(query.after));
  return { logs: rest, next: lines.length };
};
const entry = {
  name: "index-map",
  title: "Map of an index",
  answers: "How green was it?",
  needs: ["An area and a period."],
  makes: "One COG.",
  engines: ["openeo"],
  items: [],
  parameters: {
    required: ["bbox", "period", "collection"],
    properties: {
      bbox: { type: "array", title: "Area", "x-cscale": "bbox" },
      period: { type: "array", title: "Period", "x-cscale": "period" },
      collection: { type: "string", title: "Collection", "x-cscale": "collection" },
      index: { enum: ["NDVI", "NDWI"], default: "NDVI", title: "Index", type: "string" },
    },
  },
};
const place = (engine: string, id: string, changes: object = {}) => ({ engine, id, title: `Place ${id}`, online: true, checked: "2026-01-01T00:00:00Z", seconds: 0.2, version: "1.2", logins: [], estimates: true, limits: {}, problem: "", ...changes });

function server(...all: ReturnType<typeof job>[]): FakeServer {
  return new FakeServer()
    .on("GET jobs", list(...all))
    .on("GET jobs/backends", { backends: [place("openeo", "site-a", { limits: { budget: 50 } }), place("openeo", "site-b", { online: false, problem: "It does not answer." }), place("spark", "kubernetes")] })
    .on("GET jobs/backends/site-a/processes", { processes: [{ id: "load_collection", summary: "", own: false }, { id: "save_result", summary: "", own: false }, { id: "mine", summary: "", own: true }] })
    .on("GET workflows", { workflows: [entry] })
    .on("GET workflows/index-map/picture", "<svg/>")
    .on("GET site", { grants: [] })
    .on("GET catalog/collections", { collections: [{ own_id: "s2-l2a", title: "Sentinel-2, level 2A" }], providers: [] })
    .on("GET jobs/sizes", { sizes: [{ name: "small", title: "For a try", options: { executor_memory: "2g" }, pods: [{ role: "executor", count: 1, cpus: 1, memory: "2867m", memory_parts: { heap: "2g", overhead: "819m" }, fits: true }], fits: true, problem: "" }] })
    .on("POST notices/seen", new Response(null, { status: 204 }))
    .on("GET jobs/bad", { ...failed, spec: { ...failed.spec, process: { application: "aqua-monitor" }, options: { executors: 2 } }, results: [], idempotency_key: "" });
}

beforeEach(() => {
  maps.length = 0;
  delete (globalThis as { hit?: boolean }).hit;
});

describe("the list and a job", () => {
  it("shows every engine's jobs, filtered, with progress that is not known as such", async () => {
    const user = userEvent.setup();
    await show(shell(), server(running, failed, job({ id: "ok", spec: { engine: "staging", title: HOSTILE, backend: "", vo: "" } })));
    const rows = async () => within(await screen.findByRole("listbox", { name: "Jobs" })).getAllByRole("option");
    expect(await rows()).toHaveLength(3);
    expect(screen.getByText(HOSTILE)).toBeTruthy();
    expect(screen.getByRole("progressbar", { name: "Progress of Busy" }).getAttribute("aria-valuenow")).toBeNull();
    await user.selectOptions(screen.getByRole("combobox", { name: "Which jobs are shown" }), "Failed");
    expect(await rows()).toHaveLength(1);
    expect(screen.getByText("1 of 3")).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
  });

  it("says how far the stages and tasks of Spark are", async () => {
    const user = userEvent.setup();
    const usage = { spark: { stages: { active: 1, complete: 2, failed: 0 }, tasks: { total: 40, active: 2, completed: 10, failed: 1 }, executors: { active: 2, total: 3 }, cores: 4, shuffle: { spilled_bytes: 5_000_000 }, task_seconds: 100, gc_seconds: 30 } };
    await show(shell(), server({ ...running, usage, ui_path: "//elsewhere/x" }));
    await user.click(await screen.findByText("Busy"));
    const spark = within(await screen.findByRole("region", { name: "Spark" }));
    expect(spark.getByText("Tasks: 10 of 40 done")).toBeTruthy();
    expect(spark.getByText("2 running · 1 failed")).toBeTruthy();
    expect(spark.getByText("Stages: 2 of 3 done")).toBeTruthy();
    expect(spark.getByText("2 of 3 executors · 4 processors · 1 min 40 s of computing in all")).toBeTruthy();
    expect(spark.getByText("5.0 MB did not fit into memory and went to disk.")).toBeTruthy();
    expect(spark.getByText("30 % of the time goes into freeing memory.")).toBeTruthy();
    expect(spark.queryByRole("link")).toBeNull();
    expect(await seriousViolations()).toEqual([]);
  });

  it("says why a job failed, and tries again with what was suggested", async () => {
    const user = userEvent.setup();
    const fake = server(failed).on("POST jobs/bad/clone", { id: "again" });
    await show(shell(), fake);
    await user.click(await screen.findByText("Too large"));
    expect(await screen.findByText("Give it more memory.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Try again with executor_memory 8g" }));
    await waitFor(() => expect(fake.of("POST jobs/bad/clone")[0]?.body).toEqual({ suggested: true, changes: {} }));
    expect(fake.of("POST jobs/bad/clone")[0]?.headers["Idempotency-Key"]).toBeTruthy();
  });

  it("clones with changes only", async () => {
    const user = userEvent.setup();
    const fake = server(failed).on("POST jobs/bad/clone", { id: "again" });
    await show(shell(), fake);
    await user.click(await screen.findByText("Too large"));
    await user.click(await screen.findByRole("button", { name: "Clone and change…" }));
    const name = await screen.findByRole("textbox", { name: "Name" });
    await user.clear(name);
    await user.type(name, "Smaller");
    await user.click(screen.getByRole("button", { name: "Start the new job" }));
    await waitFor(() =>
      expect(fake.of("POST jobs/bad/clone")[0]?.body).toEqual({ suggested: false, changes: { title: "Smaller", options: { executors: 2, executor_memory: "8g" } } }),
    );
  });

  it("asks before it cancels", async () => {
    const user = userEvent.setup();
    const fake = server(running).on("POST jobs/run/cancel", running);
    await show(shell(), fake);
    await user.click(await screen.findByText("Busy"));
    await user.click(await screen.findByRole("button", { name: "Cancel" }));
    expect(fake.of("POST jobs/run/cancel")).toHaveLength(0);
    await user.click(await screen.findByRole("button", { name: "Cancel the job" }));
    await waitFor(() => expect(fake.of("POST jobs/run/cancel")).toHaveLength(1));
  });

  it("folds, searches and explains the log", async () => {
    const user = userEvent.setup();
    const fake = server(failed).on("GET jobs/bad/logs", logs(line(1, "Task 1"), line(2, "Task 2"), line(3, HOSTILE), line(4, "java.lang.OutOfMemoryError", "error"), line(5, "\u001b[32mbye\u001b[0m")));
    await show(shell(), fake);
    await user.click(await screen.findByText("Too large"));
    await user.click(await screen.findByRole("tab", { name: "Log" }));
    expect(await screen.findByRole("button", { name: "2 alike" })).toBeTruthy();
    expect(screen.getByText(HOSTILE)).toBeTruthy();
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
    await user.click(screen.getByRole("button", { name: "Last error" }));
    await waitFor(() => expect(document.activeElement?.textContent).toContain("OutOfMemoryError"));
    await user.type(screen.getByRole("searchbox", { name: "Search in the log" }), "bye");
    await waitFor(() => expect(within(screen.getByRole("log")).queryByText("Task 2")).toBeNull());
    expect(await seriousViolations()).toEqual([]);
  });
});

describe("results", () => {
  it("are on the map, with a value below the pointer, and values over time at a click", async () => {
    const user = userEvent.setup();
    const done = job({ id: "done", result_count: 1, actions: ["clone", "publish", "delete"] });
    const fake = server(done)
      .on("GET jobs/done/results", { type: "FeatureCollection", features: [{ id: "r", properties: { title: HOSTILE, datetime: "2020-01-01T00:00:00Z" }, assets: { map: { href: "s3://b/k.tif", "file:size": 2000 } } }] })
      .on("GET layers/job%7Cdone%7Cr", { layer: "job|done|r", title: "r", datetime: null, problem: "", renderings: [{ id: "map", title: "Index", kind: "values", unit: "", datetime: null, series: "map" }] })
      .on("GET layers/job%7Cdone%7Cr/tilejson", { tiles: ["/x/cscale/api/v1/layers/job%7Cdone%7Cr/tiles/{z}/{x}/{y}"], bounds: [1, 2, 3, 4], minzoom: 1, maxzoom: 9 })
      .on("GET layers/job%7Cdone%7Cr/legend", { title: "Index", kind: "values", unit: "", limits: [], colormap: "", colormaps: [], stops: [{ value: -1, colour: "#000000", label: "" }, { value: 1, colour: "#ffffff", label: "" }] })
      .on("GET layers/job%7Cdone%7Cr/point", { title: "", datetime: null, values: [{ name: "index", value: 0.4321, unit: "" }] })
      .on("POST layers/series", () => new Response(["2020", "2021"].map((year, value) => JSON.stringify({ type: "value", layer: "l", title: "", datetime: `${year}-01-01T00:00:00Z`, values: [{ name: "index", value, unit: "" }] })).join("\n")))
      .on("POST storage/links", { url: "https://s3.example/k.tif?signed", expires: "2026-01-01T00:00:00Z" })
      .on("POST jobs/done/publish", { id: "share" });
    await show(shell(), fake);
    await user.click(await screen.findByText("Map of an index"));
    await user.click(await screen.findByRole("tab", { name: /Results/ }));
    await waitFor(() => expect((maps.at(-1) as FakeMap).rasters).toHaveLength(1));
    const map = maps.at(-1) as FakeMap;
    expect(map.fitted).toEqual([1, 2, 3, 4]);
    await act(() => map.events.pointed?.([2, 3]));
    expect(await screen.findByText("index: 0.4321")).toBeTruthy();
    await act(() => map.events.clicked([], [2, 3]));
    expect(await screen.findByRole("img", { name: /index from 2020-01-01 to 2021-01-01/ })).toBeTruthy();
    expect(fake.of("POST layers/series")[0]?.body).toMatchObject({ layers: ["job|done|r"], longitude: 2, latitude: 3 });
    await user.click(screen.getByRole("button", { name: "Download map" }));
    await waitFor(() => expect(fake.of("POST storage/links")[0]?.body).toEqual({ bucket: "b", key: "k.tif", download: true }));
    await user.click(screen.getByRole("button", { name: "Copy a link to map for a colleague" }));
    expect(await screen.findByText(/A link for anyone who has it is copied/)).toBeTruthy();
    expect(await navigator.clipboard.readText()).toBe("https://s3.example/k.tif?signed");
    await user.click(screen.getByRole("button", { name: "More with this job" }));
    await user.click(screen.getByRole("menuitem", { name: "Register and share in the catalogue" }));
    await waitFor(() => expect(fake.of("POST jobs/done/publish")).toHaveLength(1));
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
    expect(await seriousViolations()).toEqual([]);
  });
});

describe("a new job", () => {
  it("is made by a workflow whose form is filled from the map", async () => {
    const user = userEvent.setup();
    const spec = { engine: "openeo", title: "T", backend: "site-a", process: { process_graph: {} } };
    const fake = server()
      .on("POST workflows/index-map/spec", spec)
      .on("POST jobs/validate", { asked: true, faults: [] })
      .on("POST jobs/estimate", { known: true, costs: 3, duration: "PT10M", size: 2_000_000, pods: [] })
      .on("POST jobs", { id: "new" });
    const session = await show(shell(), fake);
    session.area.set({ type: "Polygon", coordinates: [[[14, 46], [15, 46], [15, 47], [14, 47], [14, 46]]] });
    session.datetime.set("2024-01-01T00:00:00Z/2024-01-31T23:59:59Z");
    await user.click((await screen.findAllByRole("button", { name: "New job" }))[0]!);
    await user.click(await screen.findByRole("button", { name: /Map of an index/ }));
    expect(screen.getByText("This is the area on the map.")).toBeTruthy();
    expect((screen.getByLabelText("Last day") as HTMLInputElement).value).toBe("2024-01-31");
    await waitFor(() => expect((screen.getByRole("radio", { name: /Place site-a/ }) as HTMLInputElement).checked).toBe(true));
    expect(screen.getByText(/at most budget 50/)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Start the job" }));
    expect(fake.of("POST jobs")).toHaveLength(0);
    expect(await screen.findByText("This is needed.")).toBeTruthy();
    await user.selectOptions(screen.getByRole("combobox", { name: "Collection" }), "Sentinel-2, level 2A (s2-l2a)");
    expect(screen.queryByText("This is needed.")).toBeNull();
    await user.selectOptions(screen.getByRole("combobox", { name: "Collection" }), "Another one, by its id…");
    await user.type(screen.getByRole("textbox", { name: "Id of the collection" }), "s2");
    await user.click(screen.getByRole("button", { name: "Check and estimate" }));
    expect(await screen.findByText("Estimate: takes about 10 min 0 s, costs 3 credits, makes 2.0 MB.")).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
    await user.click(screen.getByRole("button", { name: "Start the job" }));
    await waitFor(() => expect(fake.of("POST jobs")[0]?.body).toEqual(spec));
    expect(fake.of("POST workflows/index-map/spec")[0]?.body).toMatchObject({
      engine: "openeo",
      backend: "site-a",
      parameters: { bbox: [14, 46, 15, 47], period: ["2024-01-01", "2024-02-01"], collection: "s2", index: "NDVI" },
    });
  });

  it("is a process graph that is looked at here and by the back end", async () => {
    const user = userEvent.setup();
    const fake = server()
      .on("GET jobs/backends/site-a/processes/mine", { id: "mine", process_graph: { a: { process_id: "odd", arguments: {}, result: true } } })
      .on("POST jobs/validate", { asked: true, faults: [{ code: "ProcessUnsupported", message: "odd is not known." }] });
    await show(shell(), fake);
    await user.click((await screen.findAllByRole("button", { name: "New job" }))[0]!);
    await user.click(await screen.findByRole("tab", { name: "Process graph" }));
    await user.selectOptions(await screen.findByRole("combobox", { name: "A process that you keep there" }), "mine");
    expect(await screen.findByText("a uses odd, which this back end does not know.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Check and estimate" }));
    expect(await screen.findByText("odd is not known.")).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
  });

  it("runs where the hub's login is used, or where somebody signs in by a code", async () => {
    const user = userEvent.setup();
    const pending = { login: { backend: "b", state: "pending", verification_uri: "https://login.example/device", verification_uri_complete: "javascript:alert(1)", user_code: "ABCD-EFGH", problem: "" } };
    let begun = false;
    const fake = server()
      .on("GET jobs/backends", { backends: [place("openeo", "a", { logins: ["hub"] }), place("openeo", "b", { logins: ["oidc"] })] })
      .on("GET jobs/backends/a/processes", { processes: [] })
      .on("GET jobs/backends/b/processes", () => (begun ? Response.json({ processes: [{ id: "mine", summary: "", own: true }] }) : problem(401, { message: "There is no login.", hint: "" })))
      .on("GET jobs/backends/b/login", () => Response.json(begun ? pending : { login: null }))
      .on("POST jobs/backends/b/login", problem(502, { message: "It does not answer.", hint: "" }));
    await show(shell(), fake);
    await user.click((await screen.findAllByRole("button", { name: "New job" }))[0]!);
    await user.click(await screen.findByRole("tab", { name: "Process graph" }));
    expect(await screen.findByText("Your login at the hub is used there.")).toBeTruthy();
    await user.click(screen.getByRole("radio", { name: /Place b/ }));
    expect(await screen.findByText(/There is no login/)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Sign in…" }));
    await user.click(await screen.findByRole("button", { name: "Begin to sign in" }));
    expect(await screen.findByText("It does not answer.")).toBeTruthy();
    begun = true;
    fake.on("POST jobs/backends/b/login", pending.login);
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("ABCD-EFGH")).toBeTruthy();
    expect(screen.queryByRole("link")).toBeNull();
    expect(await seriousViolations()).toEqual([]);
    await user.click(screen.getAllByRole("button", { name: "Close" }).at(-1)!);
    expect(await screen.findByRole("combobox", { name: "A process that you keep there" })).toBeTruthy();
  });

  it("is a Spark application, whose pods are told", async () => {
    const user = userEvent.setup();
    const fake = server().on("POST jobs", problem(422, { message: "The script is not there.", hint: "Check its path." }));
    await show(shell(), fake);
    await user.click((await screen.findAllByRole("button", { name: "New job" }))[0]!);
    await user.click(await screen.findByRole("tab", { name: "Spark application" }));
    await user.type(screen.getByRole("textbox", { name: "Script" }), "s3://b/main.py");
    await user.type(screen.getByRole("textbox", { name: /Python packages/ }), "xarray>=2024");
    await user.click(await screen.findByRole("radio", { name: /small/ }));
    expect(screen.getByText(/1 × executor: 1 processor, 2.8 GiB memory/)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Start the job" }));
    expect(await screen.findByText("Check its path.")).toBeTruthy();
    expect(fake.of("POST jobs")[0]?.body).toEqual({
      engine: "spark",
      backend: "kubernetes",
      title: "main.py",
      process: { main: "s3://b/main.py", arguments: [], packages: [], python: ["xarray>=2024"] },
      options: { executor_memory: "2g" },
    });
    expect(await seriousViolations()).toEqual([]);
  });
});
