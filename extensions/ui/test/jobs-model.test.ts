import { describe, expect, it } from "vitest";
import type { JobSummary, LogLine } from "../src/api/schema";
import { english } from "../src/i18n";
import { readGraph } from "../src/views/jobs/graph";
import { hintOf } from "../src/views/jobs/hints";
import { ANYTHING, chosenJobs, isListing, rowsOf } from "../src/views/jobs/listing";
import { filterLines, foldLines, marked } from "../src/views/jobs/log-lines";
import { remaining } from "../src/views/jobs/Overview";
import { readable } from "../src/views/jobs/readable";
import { bestHref, bucketAndKey, resultOf } from "../src/views/jobs/results";
import { fieldsOf, halves, initialValues, knownCollections, periodOf, sentValues, wrongValue } from "../src/views/jobs/schema-form";
import { usageOf } from "../src/views/jobs/usage";
import { seriesOf } from "../src/views/jobs/values";
import { duration, isoDuration, placeOf, timesOf } from "../src/views/jobs/words";
import { job } from "./jobs-data";

describe("the list", () => {
  const jobs: JobSummary[] = [
    job({ id: "a", status: "running", spec: { engine: "spark", title: "Aqua Monitor", backend: "kubernetes", vo: "" } }),
    job({ id: "b", status: "error", error: { code: "x", message: "Out of memory", hint: "", retryable: false, details: {} } }),
    job({ id: "c", status: "finished", spec: { engine: "staging", title: "Scenes", backend: "", vo: "" } }),
  ];
  const ids = (changes: object) => chosenJobs(jobs, { ...ANYTHING, ...changes }).map(({ id }) => id);
  it("is filtered by state, engine and every word", () => {
    expect(ids({ state: "open" })).toEqual(["a"]);
    expect(ids({ state: "failed" })).toEqual(["b"]);
    expect(ids({ engine: "staging" })).toEqual(["c"]);
    expect(ids({ text: "aqua KUBER" })).toEqual(["a"]);
    expect(ids({ text: "memory" })).toEqual(["b"]);
  });
  it("is grouped, and groups fold", () => {
    const rows = rowsOf(jobs, "status", ["status:error"], english);
    expect(rows.map(({ key }) => key)).toEqual(["status:running", "a", "status:error", "status:finished", "c"]);
  });
  it("forgets a filter that it does not know", () => {
    expect(isListing(ANYTHING)).toBe(true);
    expect(isListing({ ...ANYTHING, group: "colour" })).toBe(false);
  });
});

describe("times", () => {
  it("are those of the phases, without pauses", () => {
    const phases = [
      ["created", "00:00:00"],
      ["queued", "00:00:05"],
      ["running", "00:01:00"],
      ["paused", "00:03:00"],
      ["running", "00:10:00"],
    ].map(([status, time]) => ({ status, since: `2026-01-01T${time}Z` })) as JobSummary["phases"];
    const times = timesOf(job({ phases, status: "running" }), Date.parse("2026-01-01T00:11:00Z"));
    expect(times).toEqual({ waited: 60, ran: 180 });
  });
  it("are said in two units", () => {
    expect(duration(59, english)).toBe("59 s");
    expect(duration(3725, english)).toBe("1 h 2 min");
    expect(isoDuration("PT1H30M", english)).toBe("1 h 30 min");
    expect(isoDuration("soon", english)).toBe("soon");
  });
  it("that are left are only said when there is something to go by", () => {
    expect(remaining(0.5, 100)).toBe(100);
    expect(remaining(0.01, 100)).toBeNull();
    expect(remaining(null, 100)).toBeNull();
  });
});

describe("a place", () => {
  const places = new Map([["openeo cdse", "Copernicus Data Space"]]);
  const at = (engine: "openeo" | "spark", backend: string) => placeOf({ spec: { engine, backend, title: "", vo: "" } }, places, english);
  it("is called by its name, where it is known, and else by its id", () => {
    expect(at("openeo", "cdse")).toBe("Copernicus Data Space");
    expect(at("openeo", "vito")).toBe("openEO (vito)");
    expect(at("openeo", "openeo")).toBe("openEO");
    expect(at("spark", "local")).toBe("Spark on this server");
  });
});

describe("what a job used", () => {
  const used = (engine: "openeo" | "slurm" | "spark", usage: object) =>
    usageOf({ spec: { engine, backend: "", title: "", vo: "" }, usage: usage as Record<string, unknown> }, english);
  it("is said in units that people read", () => {
    const usage = {
      cpu: { value: 3725, unit: "cpu-seconds" },
      duration: { value: 77.4, unit: "seconds" },
      memory: { value: 267, unit: "mb" },
      tiles: { value: 1200, unit: "tiles" },
      input_pixel: { value: 1.5, unit: "mega-pixel" },
      odd: { value: null },
    };
    expect(used("openeo", usage)).toEqual([
      ["Processors' time", "1 h 2 min"],
      ["Computed for", "1 min 17 s"],
      ["Memory", "267 MB"],
      ["Tiles", "1,200"],
      ["Input pixel", "1.5 mega-pixel"],
    ]);
  });
  it("comes from Slurm's accounting too", () => {
    expect(used("slurm", { slurm: { tasks: 2, cpu_seconds: 61, memory: 2e9, nodes: "n1,n2" } })).toEqual([
      ["Tasks", "2"],
      ["Processors' time", "1 min 1 s"],
      ["Memory at most", "2.0 GB"],
      ["Nodes", "n1,n2"],
    ]);
    expect(used("spark", { spark: { tasks: {} } })).toEqual([]);
  });
});

describe("the log", () => {
  it.each([
    ["\u001b[1;31mred\u001b[0m alert\r\n", "red alert"],
    ["\u001b]0;a title\u0007text\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\", "textlink"],
    ["10 %\r 50 %\r100 %\nnext\tcolumn", "100 %\nnext\tcolumn"],
    ["safe\u202egpj.exe\u0000", "safe\ufffdgpj.exe\ufffd"],
    ["<script>alert(1)</script>", "<script>alert(1)</script>"],
    ["\u001b", "\ufffd"],
  ])("is text that can be read: %j", (written, read) => expect(readable(written)).toBe(read));
  const line = (id: number, message: string, level: LogLine["level"] = "info"): LogLine => ({ id, level, message, time: "2026-01-01T00:00:00Z" });
  it("folds repeats that differ in numbers only", () => {
    const folds = foldLines([line(1, "Task 1 of 3"), line(2, "Task 2 of 3"), line(3, "Done"), line(4, "Task 3 of 3")]);
    expect(folds.map(({ lines }) => lines.length)).toEqual([2, 1, 1]);
  });
  it("is filtered by level and words, and marks them", () => {
    const lines = [line(1, "a", "debug"), line(2, "No space LEFT", "error")];
    expect(filterLines(lines, "warning", "").map(({ id }) => id)).toEqual([2]);
    expect(filterLines(lines, "debug", "left").map(({ id }) => id)).toEqual([2]);
    expect(marked("No space LEFT", "left")).toEqual([
      ["No space ", false],
      ["LEFT", true],
    ]);
  });
  it.each([
    ["java.lang.OutOfMemoryError: Java heap space", /memory/],
    ["Container killed, exit code 137", /memory/],
    ["The access token has expired", /Sign in again/],
    ["botocore NoSuchKey: products/x.tif", /Data is missing/],
    ["ModuleNotFoundError: No module named 'xarray'", /package/],
    ["slurmstepd: CANCELLED DUE TO TIME LIMIT", /time limit/],
  ])("says of %s what to change", (message, words) => expect(hintOf(message, english)).toMatch(words));
  it("says nothing where nothing is known", () => expect(hintOf("Everything is fine", english)).toBe(""));
});

describe("a form", () => {
  const schema = {
    $defs: { Index: { enum: ["NDVI", "NDWI"], type: "string" } },
    required: ["bbox", "period", "collection"],
    properties: {
      bbox: { type: "array", title: "Area", "x-cscale": "bbox" },
      period: { type: "array", title: "Period", "x-cscale": "period" },
      collection: { type: "string", title: "Collection", "x-cscale": "collection" },
      bands: { type: "array", default: ["B04"], "x-cscale": "bands" },
      index: { $ref: "#/$defs/Index", default: "NDVI" },
      max_cloud_cover: { anyOf: [{ type: "number", minimum: 0, maximum: 100 }, { type: "null" }], default: null },
      min_images: { type: "integer", minimum: 1, default: 10 },
      odd: { type: "object" },
    },
  };
  const fields = fieldsOf(schema);
  const field = (name: string) => fields.find((each) => each.name === name)!;
  it("has a field of the right kind for each parameter", () => {
    expect(fields.map(({ kind }) => kind)).toEqual(["bbox", "period", "collection", "texts", "choice", "number", "number", "json"]);
    expect(field("index").choices).toEqual(["NDVI", "NDWI"]);
    expect(field("max_cloud_cover")).toMatchObject({ min: 0, max: 100, required: false });
  });
  it("takes area and dates from the map", () => {
    const area = { type: "Polygon" as const, coordinates: [[[1, 2], [3, 2], [3, 4], [1, 4], [1, 2]]] };
    const values = initialValues(fields, area, "2024-01-01T00:00:00Z/2024-01-31T23:59:59Z");
    expect(values.bbox).toEqual([1, 2, 3, 4]);
    expect(values.period).toEqual(["2024-01-01", "2024-02-01"]);
    expect(sentValues(fields, values)).not.toHaveProperty("max_cloud_cover");
  });
  it("offers each collection once, by title", () => {
    const entries = [
      { own_id: "s2", title: "Sentinel-2" },
      { own_id: "dem", title: "" },
      { own_id: "s2", title: "Sentinel-2" },
    ];
    expect(knownCollections(entries)).toEqual([
      { id: "dem", title: "dem" },
      { id: "s2", title: "Sentinel-2" },
    ]);
  });
  it("makes no dates up", () => {
    expect(periodOf("2024-01-01T00:00:00Z/..")).toEqual(["2024-01-01", ""]);
    expect(halves(["2020-01-01", "2022-01-01"])).toEqual([
      ["2020-01-01", "2020-12-31"],
      ["2020-12-31", "2022-01-01"],
    ]);
  });
  it("tells what is wrong", () => {
    expect(wrongValue(field("bbox"), [3, 2, 1, 4])).toBe("box");
    expect(wrongValue(field("bbox"), [1, 2, null, 4])).toBe("box");
    expect(wrongValue(field("period"), ["2024-02-01", "2024-01-01"])).toBe("days");
    expect(wrongValue(field("collection"), "")).toBe("missing");
    expect(wrongValue(field("max_cloud_cover"), 101)).toBe("large");
    expect(wrongValue(field("max_cloud_cover"), null)).toBe("");
  });
});

describe("a process graph", () => {
  const good = {
    load: { process_id: "load_collection", arguments: { id: "S2" } },
    save: { process_id: "save_result", arguments: { data: { from_node: "load" }, format: "GTiff" }, result: true },
  };
  it("is read bare and as a process", () => {
    expect(readGraph({ process_graph: good }, null).list).toEqual(readGraph(good, null).list);
    expect(readGraph(good, new Set(["load_collection", "save_result"])).faults).toEqual([]);
  });
  it("is looked through, but not the graphs within", () => {
    const within = { process_id: "apply", arguments: { data: { from_node: "gone" }, process: { process_graph: { x: { arguments: { y: { from_node: "inner" } } } } } } };
    const { faults } = readGraph({ within }, new Set(["load_collection"]));
    expect(faults).toEqual([{ kind: "unknown-node", node: "within", other: "gone" }, { kind: "unknown-process", node: "within", process: "apply" }, { kind: "no-result" }]);
  });
});

describe("results", () => {
  it("are read whatever they hold", () => {
    expect(resultOf("j", null)).toMatchObject({ id: "", files: [] });
    const result = resultOf("j/1", { id: "a b", assets: { map: { href: "/s3/x", alternate: { s3: { href: "s3://b/k/x.tif" } }, "file:size": 5 }, bad: 3 } });
    expect(result.layer).toBe("job|j%2F1|a%20b");
    expect(bestHref(result.files[0]!)).toBe("s3://b/k/x.tif");
    expect(bucketAndKey("s3://b/k/x.tif")).toEqual({ bucket: "b", key: "k/x.tif" });
    expect(bestHref({ ...result.files[0]!, hrefs: ["javascript:alert(1)"] })).toBe("");
  });
  it("are of a day, or of a period", () => {
    expect(resultOf("j", { properties: { datetime: "2020-05-01T00:00:00Z" } }).days).toBe("2020-05-01");
    expect(resultOf("j", { properties: { datetime: null, start_datetime: "2020-01-01T00:00:00Z", end_datetime: "2020-12-31T00:00:00Z" } }).days).toBe("2020-01-01 – 2020-12-31");
  });
  it("become series in the order of time", () => {
    const line = (datetime: string | null, value: number | null) => ({ type: "value" as const, layer: "l", title: "t", datetime, values: [{ name: "ndvi", value, unit: "" }] });
    const [series] = seriesOf([line("2024-02-01T00:00:00Z", 2), line("2024-01-01T00:00:00Z", 1), line(null, 3), line("2024-03-01T00:00:00Z", null)]);
    expect(series?.points.map(({ value }) => value)).toEqual([1, 2]);
    expect(series?.undated).toEqual([3]);
  });
});
