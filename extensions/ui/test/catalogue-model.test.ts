import { describe, expect, it } from "vitest";
import type { CollectionEntry, CollectionList } from "../src/api/schema";
import { boxOf, parseArea, parsePlace, rectangle, squareKilometres, isRectangle } from "../src/map/geo";
import { missionsOf } from "../src/views/catalogue/collections";
import { namesOf } from "../src/views/catalogue/names";
import { EMPTY_FORM, filterOf, questionOf, wrongCondition } from "../src/views/catalogue/form";
import { isWithin, total, withLine, type Histogram } from "../src/views/catalogue/histogram";
import { daysOf, intervalOf, wrongDays } from "../src/views/catalogue/interval";
import { itemText } from "../src/items/item";
import { propertiesOf } from "../src/views/catalogue/queryables";
import { refParts } from "../src/views/catalogue/refs";
import { barsOf } from "../src/views/catalogue/TimeSlider";

describe("areas", () => {
  it.each([
    ['{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}', "Polygon", 1],
    ['{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1]]]}}', "Polygon", 1],
    ["POLYGON ((0 0, 1 0, 1 1, 0 0))", "Polygon", 1],
    ["SRID=4326;POLYGON Z ((0 0 5, 1 0 5, 1 1 5, 0 0 5), (.2 .1 5, .3 .1 5, .3 .2 5, .2 .1 5))", "Polygon", 1],
    ["multipolygon (((0 0, 1 0, 1 1, 0 0)), ((5 5, 6 5, 6 6, 5 5)))", "MultiPolygon", 2],
    ["14.2, 46, 14.8, 46.3", "Polygon", 1],
    ["170 -20 -170 -10", "MultiPolygon", 2],
  ])("reads %s", (text, type, parts) => {
    const area = parseArea(text);
    expect(area.type).toBe(type);
    expect(area.type === "MultiPolygon" ? area.coordinates.length : 1).toBe(parts);
    const ring = (area.type === "MultiPolygon" ? area.coordinates[0]?.[0] : area.coordinates[0]) ?? [];
    expect(ring[0]).toEqual(ring.at(-1));
  });
  it.each([
    ["", /nothing/],
    ["POINT (1 2)", /neither/],
    ["POLYGON ((0 0, 1 0", /neither/],
    ["POLYGON ((0 0, x 0, 1 1))", /no number/],
    ['{"type":"Point","coordinates":[1,2]}', /no Polygon/],
    ["{broken", /JSON/],
    ["14, 46, 15, 45", /south/],
    ["POLYGON ((500000 4600000, 510000 4600000, 510000 4610000, 500000 4600000))", /projection/],
  ])("says why %s is none", (text, why) => {
    expect(() => parseArea(text)).toThrow(why);
  });
  it("has an extent of what is on the globe only", () => {
    expect(boxOf([[1e308, 0], [14, 46], [15, -1e308], [NaN, 1], [181, 47]])).toEqual([14, 46, 181, 47]);
    expect(boxOf([["<b>" as unknown as number, 1]])).toBeNull();
  });
  it("does not run what is pasted", () => {
    expect(() => parseArea("POLYGON ((alert(1) 0, 1 1))")).toThrow();
  });
  it("measures on the sphere", () => {
    expect(squareKilometres(rectangle([0, 0, 1, 1]))).toBeCloseTo(12364, -1);
    expect(squareKilometres(rectangle([0, 60, 1, 61]))).toBeCloseTo(6092, -1);
  });
  it("knows a rectangle", () => {
    expect(isRectangle(rectangle([1, 2, 3, 4]))).toBe(true);
    expect(isRectangle(parseArea("POLYGON ((0 0, 1 0, 1 1, 0 0))"))).toBe(false);
  });
  it.each([
    ["46.05, 14.5", [14.5, 46.05]],
    ["46.05 N 14.5 W", [-14.5, 46.05]],
    ["91, 0", null],
    ["Slovenia", null],
  ])("takes %s for a place", (text, place) => expect(parsePlace(text)).toEqual(place));
});

describe("the question", () => {
  it("asks a rectangle as a box and anything else as a geometry", () => {
    expect(questionOf(EMPTY_FORM, rectangle([1, 2, 3, 4]), "", 100)).toEqual({ limit: 100, bbox: [1, 2, 3, 4] });
    expect(questionOf(EMPTY_FORM, parseArea("POLYGON ((0 0, 1 0, 1 1, 0 0))"), "", 100)).toHaveProperty("intersects.type", "Polygon");
  });
  it("asks for clouds only when they matter, as radar states none", () => {
    expect(questionOf(EMPTY_FORM, null, "", 10)).not.toHaveProperty("max_cloud_cover");
    expect(questionOf({ ...EMPTY_FORM, maxCloudCover: 20 }, null, "", 10)).toHaveProperty("max_cloud_cover", 20);
  });
  it("writes conditions as CQL2", () => {
    const number = { property: "sat:relative_orbit", operator: "=" as const, value: " 22 ", kind: "number" as const };
    const text = { property: "platform", operator: "like" as const, value: "2a", kind: "text" as const };
    expect(filterOf([number])).toEqual({ op: "=", args: [{ property: "sat:relative_orbit" }, 22] });
    expect(filterOf([number, text, { ...text, value: " " }])).toEqual({
      op: "and",
      args: [
        { op: "=", args: [{ property: "sat:relative_orbit" }, 22] },
        { op: "like", args: [{ property: "platform" }, "%2a%"] },
      ],
    });
    expect(filterOf([])).toBeNull();
    expect(wrongCondition({ ...number, value: "many" })).toBe("number");
  });
  it("keeps days and intervals the same", () => {
    for (const days of [{ from: "2024-06-01", to: "2024-06-30" }, { from: "", to: "2024-06-30" }, { from: "2024-06-01", to: "" }, { from: "", to: "" }]) {
      expect(daysOf(intervalOf(days))).toEqual(days);
    }
    expect(daysOf("2024-06-01T10:00:00Z")).toEqual({ from: "2024-06-01", to: "2024-06-01" });
    expect(wrongDays({ from: "2024-06-02", to: "2024-06-01" })).toBe("order");
  });
});

const entry = (id: string, provider: string, mission: string, changes: Partial<CollectionEntry> = {}): CollectionEntry =>
  ({ id: `${provider}|${id}`, own_id: id, provider, provider_title: provider.toUpperCase(), title: id, description: "", mission, interval: [], stale: false, ...changes }) as CollectionEntry;

describe("collections", () => {
  it("are grouped by mission, the same ones of several archives as one", () => {
    const missions = missionsOf([entry("S2-L2A", "a", "Sentinel-2"), entry("s2-l2a", "b", "Sentinel-2", { description: "Surface reflectance." }), entry("x", "a", "")], "", "Other");
    expect(missions.map(({ name }) => name)).toEqual(["Sentinel-2", "Other"]);
    expect(missions[0]?.choices).toHaveLength(1);
    expect(missions[0]?.choices[0]).toMatchObject({ description: "Surface reflectance.", places: [{ id: "a|S2-L2A" }, { id: "b|s2-l2a" }] });
  });
  it("have the name that somebody gave them, also where a catalogue keeps items of them by id", () => {
    const all = [
      entry("s2-l2a", "own", "Sentinel-2", { title: "s2-l2a", description: "Items of s2-l2a that members staged or computed." }),
      entry("s2-l2a", "a", "Sentinel-2", { title: "Surface reflectance", description: "Short." }),
    ];
    expect(missionsOf(all, "", "Other")[0]?.choices[0]).toMatchObject({ title: "Surface reflectance", description: "Short." });
    const names = namesOf({ collections: all, providers: [] } as unknown as CollectionList);
    expect(names.collection("own", "s2-l2a")).toBe("Surface reflectance");
    expect(names.choice("a|s2-l2a")).toBe("Surface reflectance");
    expect(names.choice("own|unknown")).toBe("unknown");
  });
  it("are found by any of their words", () => {
    const all = [entry("s2", "a", "Sentinel-2"), entry("s1", "a", "Sentinel-1", { description: "radar backscatter" })];
    expect(missionsOf(all, "RADAR sentinel", "Other").map(({ name }) => name)).toEqual(["Sentinel-1"]);
  });
});

describe("what others wrote", () => {
  it("stays text, whatever shape it has", () => {
    const item = itemText({ id: 7, properties: { title: "<img src=x onerror=alert(1)>", platform: { a: 1 } }, assets: { B1: null, B2: { href: 9, alternate: 3, roles: "data" } } });
    expect(item.id).toBe("");
    expect(item.title).toBe("<img src=x onerror=alert(1)>");
    expect(item.facts).toEqual([["platform", '{"a":1}']]);
    expect(item.assets.map(({ places }) => places)).toEqual([[], []]);
    expect(itemText(null).assets).toEqual([]);
  });
  it("is cut where it is too long", () => {
    expect(itemText({ properties: { description: "x".repeat(1_000_000) } }).description.length).toBeLessThan(1000);
  });
  it("lists an asset at each of its places once", () => {
    const { assets } = itemText({ assets: { B1: { href: "s3://b/k", alternate: { https: { href: "https://h/k" }, same: { href: "s3://b/k" } } } } });
    expect(assets[0]?.places).toEqual([
      { name: "", href: "s3://b/k" },
      { name: "https", href: "https://h/k" },
    ]);
  });
  it("names properties with their types and values", () => {
    const found = propertiesOf([{ properties: { "sat:orbit_state": { enum: ["ascending"] }, gsd: { type: "number", title: "GSD", minimum: 1, maximum: 9 }, geometry: {}, odd: null } }, {}, null]);
    expect(found).toEqual([
      { name: "gsd", title: "GSD (gsd)", type: "number", values: [], range: "1 – 9" },
      { name: "sat:orbit_state", title: "sat:orbit_state", type: "string", values: ["ascending"], range: "" },
    ]);
  });
  it("reads references with odd letters", () => {
    expect(refParts("a|b%7Cc|d%2Fe")).toEqual({ provider: "a", collection: "b|c", id: "d/e" });
    expect(refParts("a|%|")).toEqual({ provider: "a", collection: "%", id: "" });
  });
});

describe("when", () => {
  it("has a bar a day while there are few days", () => {
    expect(barsOf([{ datetime: "2024-01-01T00:00:00Z" }, { datetime: "2024-01-03T10:00:00Z" }, { datetime: null }])).toEqual({
      starts: ["2024-01-01", "2024-01-02", "2024-01-03"],
      counts: [1, 0, 1],
      days: 1,
    });
    expect(barsOf([{ datetime: "2024-01-01T00:00:00Z" }])).toBeNull();
  });
  it("counts all within bars of many days", () => {
    const items = Array.from({ length: 1000 }, (_, index) => ({ datetime: new Date(Date.UTC(2020, 0, 1 + index)).toISOString() }));
    const bars = barsOf(items);
    expect(bars?.counts.length).toBeLessThanOrEqual(60);
    expect(bars?.counts.reduce((sum, count) => sum + count, 0)).toBe(1000);
  });
  it("adds up what archives count, and says what is not the whole truth", () => {
    let known: Histogram | null = null;
    known = withLine(known, { type: "bins", step: "month", bins: [{ start: "2024-01-01T00:00:00Z", end: "2024-02-01T00:00:00Z" }] });
    known = withLine(known, { type: "count", provider: "a", place: 0, count: 3, at_least: false });
    known = withLine(known, { type: "count", provider: "b", place: 0, count: 100, at_least: true });
    known = withLine(known, { type: "report", id: "c", title: "C", status: "timeout", method: "", error: "Too slow." });
    expect(known?.bins).toEqual([{ from: "2024-01-01", to: "2024-01-31", count: 103, atLeast: true }]);
    expect(known && total(known)).toEqual({ count: 103, atLeast: true });
    expect(known?.failed).toEqual([{ title: "C", error: "Too slow." }]);
    expect(isWithin({ from: "2024-01-01", to: "2024-01-31" }, { from: "2024-02-01", to: "" })).toBe(false);
  });
});
