import { act, screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Shell } from "../src/shell/Shell";
import { createStore } from "../src/state/store";
import { catalogue } from "../src/views/catalogue";
import { openSearch, packSearch } from "../src/views/catalogue/search-link";
import { seriousViolations } from "./axe";
import { maps, type FakeMap } from "./fake-map";
import { FakeServer, problem, stream, type Asked } from "./fake-server";
import { show } from "./render";

vi.mock("../src/map/leaflet-map", () => import("./fake-map"));

const HOSTILE = "<img src=x onerror=\"globalThis.hit=true\"><script>globalThis.hit=true</script>";

const square = (x: number, y: number) => ({
  type: "Polygon",
  coordinates: [[[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1], [x, y]]],
});
const slim = (provider: string, id: string, day: string, changes: object = {}) => ({
  ref: `${provider}|s2|${id}`,
  geometry: square(14, 46),
  datetime: `${day}T10:00:00Z`,
  cloud_cover: 12.4,
  mirrors: 0,
  ...changes,
});
const report = (id: string, changes: object = {}) => ({
  id,
  title: `Archive ${id}`,
  status: "ok",
  matched: null,
  returned: 1,
  pages: 1,
  elapsed: 0.5,
  error: "",
  note: "",
  applied_here: [],
  mirrors: 0,
  more: false,
  ordered: true,
  ...changes,
});
const page = (order: number[], reports: object[], changes: object = {}) => ({
  type: "page",
  order,
  mirrors: {},
  providers: reports,
  next: "",
  complete: true,
  matched: null,
  ...changes,
});
const lines = (...all: object[]) => () => new Response(all.map((line) => JSON.stringify(line)).join("\n"));
const provider = (id: string, changes: object = {}) => ({ id, title: `Archive ${id}`, url: "", kind: "api", online: true, last_checked: null, latency: 0.04, error: "", ...changes });

function federation(): FakeServer {
  return new FakeServer()
    .on("GET catalog/providers", { providers: [provider("a"), provider("b"), provider("c", { online: false, error: "down" })], registry: null })
    .on("GET catalog/collections", {
      collections: [
        { id: "a|s2", provider: "a", provider_title: "Archive a", own_id: "s2", title: "Sentinel-2 L1C", description: HOSTILE, bbox: [], interval: [["2015-06-23T00:00:00Z", null]], keywords: [], licence: "", mission: "Sentinel-2", platforms: [], stale: false },
        { id: "b|s2", provider: "b", provider_title: "Archive b", own_id: "s2", title: "Sentinel-2 L1C", description: "", bbox: [], interval: [["2015-06-23T00:00:00Z", null]], keywords: [], licence: "", mission: "Sentinel-2", platforms: [], stale: false },
      ],
      providers: [
        { id: "a", title: "Archive a", status: "ok", returned: 1, age: 0, elapsed: 0, error: "", note: "" },
        { id: "c", title: "Archive c", status: "error", returned: 0, age: null, elapsed: 0, error: "It cannot be reached.", note: "" },
      ],
    })
    .on("GET catalog/queryables", { properties: { "sat:relative_orbit": { type: "integer", title: "Orbit" } } })
    .on("GET catalog/collections/*", { properties: { "sat:relative_orbit": { type: "integer", title: "Orbit" } } })
    .on("POST catalog/histogram", lines({ type: "bins", step: "year", bins: [{ start: "2024-01-01T00:00:00Z", end: "2025-01-01T00:00:00Z" }] }, { type: "count", provider: "a", place: 0, count: 7, at_least: true }))
    .on("GET saved/searches", { searches: [] })
    .on("GET saved/favourites", { favourites: [] })
    .on("GET catalog/items/*", problem(404, { message: "No picture." }));
}

const shell = () => <Shell views={[catalogue]} at={createStore("catalogue")} />;
const theMap = () => maps.at(-1) as FakeMap;
const search = (user: ReturnType<typeof userEvent.setup>) => user.click(screen.getByRole("button", { name: "Search" }));

beforeEach(() => {
  maps.length = 0;
  delete (globalThis as { hit?: boolean }).hit;
});

describe("searching", () => {
  it("shows what fast archives have while slow ones still answer, and says so", async () => {
    const user = userEvent.setup();
    const answer = stream();
    const server = federation().on("POST catalog/search", () => answer.response);
    await show(shell(), server);
    await search(user);
    answer.line({ type: "items", provider: "a", items: [slim("a", "S2A_ONE", "2024-06-01"), slim("a", "S2A_TWO", "2024-06-03")] });
    answer.line({ type: "report", ...report("a", { returned: 2 }) });
    expect(await screen.findByText("2 so far")).toBeTruthy();
    expect(await screen.findByText(/2 archives still searching/)).toBeTruthy();
    // The newest is first, and on the map, too.
    await waitFor(() => expect(screen.getAllByRole("option")[0]?.textContent).toContain("S2A_TWO".slice(-7)));
    await waitFor(() => expect(theMap().footprints).toHaveLength(2));
    answer.line({ type: "report", ...report("c", { status: "timeout", error: "It did not answer within 20 seconds." }) });
    expect(await screen.findByText(/Archive c failed: It did not answer within 20 seconds/)).toBeTruthy();
    answer.line(page([1, 0], [report("a", { returned: 2 }), report("b", { returned: 0 }), report("c", { status: "timeout", error: "It did not answer within 20 seconds." })], { complete: false }));
    answer.end();
    expect(await screen.findByText("2 items from the archives that answered")).toBeTruthy();
    expect(screen.queryByText(/that is all/)).toBeNull();
  });

  it("is asked what was filled in", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", lines(page([], [])));
    await show(shell(), server);
    await act(() => theMap().events.drawn({ type: "Polygon", coordinates: [[[14, 46], [15, 46], [15, 47], [14, 47], [14, 46]]] }));
    await user.click(await screen.findByRole("checkbox", { name: /Sentinel-2 L1C/ }));
    await user.click(screen.getByRole("button", { name: "Add" }));
    await user.selectOptions(await screen.findByRole("combobox", { name: "Property" }), "Orbit (sat:relative_orbit)");
    await user.type(screen.getByRole("textbox", { name: "Value" }), "22");
    await search(user);
    await screen.findByText("Nothing was found");
    expect(server.of("POST catalog/search")[0]?.body).toEqual({
      bbox: [14, 46, 15, 47],
      collections: ["a|s2", "b|s2"],
      cursor: "",
      filter: { op: "<=", args: [{ property: "sat:relative_orbit" }, 22] },
      limit: 200,
    });
  });

  it("does not take nothing for a failure, nor a failure for nothing", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", problem(503, { message: "Search is being started.", hint: "Try again soon.", retryable: true }));
    await show(shell(), server);
    await search(user);
    expect(await screen.findByText("Search is being started.")).toBeTruthy();
    expect(screen.queryByText("Nothing was found")).toBeNull();
    server.on("POST catalog/search", lines(page([], [report("a", { returned: 0 })])));
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("Nothing was found")).toBeTruthy();
  });

  it("can be stopped, and keeps what came", async () => {
    const user = userEvent.setup();
    const answer = stream();
    let asked: Asked | undefined;
    const server = federation().on("POST catalog/search", (request) => {
      asked = request;
      request.signal?.addEventListener("abort", () => answer.end());
      return answer.response;
    });
    await show(shell(), server);
    await search(user);
    answer.line({ type: "items", provider: "a", items: [slim("a", "ONE", "2024-06-01")] });
    await screen.findByText("1 so far");
    await user.click(screen.getByRole("button", { name: "Stop" }));
    expect(await screen.findByText("1 until it stopped")).toBeTruthy();
    expect(asked?.signal?.aborted).toBe(true);
    expect(screen.getAllByRole("option")).toHaveLength(1);
  });

  it("says when the answer breaks off", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", lines({ type: "items", provider: "a", items: [slim("a", "ONE", "2024-06-01")] }));
    await show(shell(), server);
    await search(user);
    expect(await screen.findByText("The answer of your server broke off.")).toBeTruthy();
    expect(screen.getAllByRole("option")).toHaveLength(1);
  });

  it("loads more where there is more, and never names a number that it does not know", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", ({ body }) =>
      (body as { cursor: string }).cursor
        ? new Response(JSON.stringify({ type: "items", provider: "a", items: [slim("a", "TWO", "2024-05-01")] }) + "\n" + JSON.stringify(page([0], [report("a")])))
        : new Response(JSON.stringify({ type: "items", provider: "a", items: [slim("a", "ONE", "2024-06-01")] }) + "\n" + JSON.stringify(page([0], [report("a", { more: true })], { next: "c1" }))),
    );
    await show(shell(), server);
    await search(user);
    expect(await screen.findByText("1, and there are more")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Load more" }));
    expect(await screen.findByText("2 items, that is all")).toBeTruthy();
    expect(server.of("POST catalog/search")[1]?.body).toMatchObject({ cursor: "c1" });
  });

  it("is there again after a reload", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", lines({ type: "items", provider: "a", items: [slim("a", "ONE", "2024-06-01")] }, page([0], [report("a")])));
    const session = await show(shell(), server);
    await user.click(await screen.findByRole("checkbox", { name: /Sentinel-2 L1C/ }));
    await search(user);
    await screen.findByText("1 item, that is all");
    await session.memory.flush();
    document.body.replaceChildren();
    await show(shell(), server);
    expect(await screen.findByText("1 item, that is all")).toBeTruthy();
    expect(server.of("POST catalog/search")[1]?.body).toMatchObject({ collections: ["a|s2", "b|s2"] });
  });
});

describe("results", () => {
  async function found(server = federation(), host = {}) {
    const user = userEvent.setup();
    server.on("POST catalog/search", lines({ type: "items", provider: "a", items: [slim("a", "ONE_SCENE_OF_JUNE", "2024-06-01"), slim("a", "TWO", "2024-05-01")] }, page([0, 1], [report("a")])));
    const session = await show(shell(), server, host);
    await search(user);
    await screen.findByText("2 items, that is all");
    return { user, session, server };
  }

  it("are pointed at in the list and on the map alike", async () => {
    const { user } = await found();
    const [first] = screen.getAllByRole("option");
    await user.hover(first as HTMLElement);
    await waitFor(() => expect(theMap().marks.hovered).toBe("a|s2|ONE_SCENE_OF_JUNE"));
    await act(() => theMap().events.hovered("a|s2|TWO"));
    await waitFor(() => expect(screen.getAllByRole("option")[1]?.className).toContain("cs-row-active"));
  });

  it("are gone through and selected with the keyboard", async () => {
    const { user, session } = await found();
    screen.getByRole("listbox", { name: "Results" }).focus();
    await user.keyboard("{ArrowDown}{ArrowDown} ");
    expect(session.selection.get()).toEqual(["a|s2|TWO"]);
    await user.keyboard("{Shift>}{ArrowUp}{/Shift}");
    expect(session.selection.get()).toEqual(["a|s2|TWO", "a|s2|ONE_SCENE_OF_JUNE"]);
    await user.keyboard("{Home} {End}{Shift>} {/Shift}");
    expect(session.selection.get()).toEqual(["a|s2|TWO", "a|s2|ONE_SCENE_OF_JUNE"]);
    await act(() => session.selection.set([]));
    await user.keyboard("{Control>}a{/Control}");
    expect(session.selection.get()).toHaveLength(2);
    expect(await screen.findByText("2 selected")).toBeTruthy();
    await user.keyboard("{Home}{Enter}");
    expect(await screen.findByRole("article", { name: "ONE_SCENE_OF_JUNE" })).toBeTruthy();
  });

  it("keep the keyboard: into the details, and back to the same row", async () => {
    const { user, session } = await found();
    screen.getByRole("listbox", { name: "Results" }).focus();
    await user.keyboard("{ArrowDown}{ArrowDown}{Enter}");
    await screen.findByRole("article", { name: "TWO" });
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Back to the list" }));
    await user.keyboard("{Enter}");
    expect(document.activeElement).toBe(screen.getByRole("listbox", { name: "Results" }));
    await user.keyboard(" ");
    expect(session.selection.get()).toEqual(["a|s2|TWO"]);
  });

  it("keep the keyboard's row when the pointer leaves the list", async () => {
    const { user, session } = await found();
    screen.getByRole("listbox", { name: "Results" }).focus();
    await user.keyboard("{ArrowDown}{ArrowDown}");
    await act(() => theMap().events.hovered(null));
    await user.keyboard(" ");
    expect(session.selection.get()).toEqual(["a|s2|TWO"]);
  });

  it("are selected with all between, by a click with Shift", async () => {
    const user = userEvent.setup();
    const three = ["ONE", "TWO", "THREE"].map((id, index) => slim("a", id, `2024-06-0${3 - index}`));
    const server = federation().on("POST catalog/search", lines({ type: "items", provider: "a", items: three }, page([0, 1, 2], [report("a")])));
    const session = await show(shell(), server);
    await search(user);
    await screen.findByText("3 items, that is all");
    const [first, , third] = screen.getAllByRole("option");
    await user.click(first?.querySelector("[data-tick]") as HTMLElement);
    expect(session.selection.get()).toEqual(["a|s2|ONE"]);
    expect(screen.queryByRole("article")).toBeNull();
    await user.keyboard("{Shift>}");
    await user.click(third as HTMLElement);
    await user.keyboard("{/Shift}");
    expect(session.selection.get()).toEqual(["a|s2|ONE", "a|s2|TWO", "a|s2|THREE"]);
    expect(screen.queryByRole("article")).toBeNull();
    expect(screen.getByRole("listbox", { name: "Results" })).toBe(document.activeElement);
  });

  it("name archives and collections as these call themselves", async () => {
    await found();
    const [first] = screen.getAllByRole("option");
    expect(first?.textContent).toContain("Sentinel-2 L1C");
    expect(first?.textContent).toContain("Archive a");
  });

  it("have no id twice in a page with two panels", async () => {
    const { server } = await found();
    await show(shell(), server);
    expect(screen.getAllByRole("tablist", { name: "Views" })).toHaveLength(2);
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it("show hostile text as text", async () => {
    const server = federation()
      .on("GET catalog/items/a%7Cs2%7CTWO", {
        id: "TWO",
        "cscale:provider": "a",
        geometry: square(14, 46),
        properties: { datetime: "2024-05-01T10:00:00Z", title: HOSTILE, description: "x".repeat(1_000_000), platform: HOSTILE, link: "javascript:globalThis.hit=true" },
        assets: { B02: { href: "javascript:globalThis.hit=true", title: HOSTILE, alternate: { https: { href: "https://data.example/b02.tif" } } } },
      })
      .on("GET layers/*", { layer: "", title: "", datetime: null, renderings: [], problem: HOSTILE });
    const { user } = await found(server);
    await user.click(screen.getAllByRole("option")[1] as HTMLElement);
    const article = await screen.findByRole("article", { name: "TWO" });
    expect((await within(article).findAllByText(HOSTILE)).length).toBeGreaterThan(1);
    expect(article.querySelector("script")).toBeNull();
    expect([...article.querySelectorAll("a")].map(({ href }) => href)).toEqual(["https://data.example/b02.tif"]);
    expect(article.textContent?.length).toBeLessThan(10_000);
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
  });

  it("are staged with one key, however often the button is pressed after a failure", async () => {
    const server = federation()
      .on("GET site", { user: "u", grants: [{ bucket: "aqua", prefix: "products/", access: "rw", vo: "aqua.eu", purpose: "products" }] })
      .on("GET catalog/items/a%7Cs2%7CTWO", { id: "TWO", properties: {}, assets: { B02: { href: "x", roles: ["data"], "file:size": 2_000_000 }, thumbnail: { href: "y", roles: ["thumbnail"] } } })
      .on("GET layers/*", { layer: "", title: "", datetime: null, renderings: [], problem: "" })
      .on("POST stage", problem(503, { message: "Your server does not answer.", retryable: true }));
    const { user } = await found(server);
    await user.click(screen.getAllByRole("option")[1] as HTMLElement);
    await user.click(await screen.findByRole("button", { name: "Stage…" }));
    await user.click(await screen.findByRole("button", { name: "Stage 2.0 MB" }));
    await screen.findByText("Your server does not answer.");
    server.on("POST stage", { id: "j1" });
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("1 item is being staged.")).toBeTruthy();
    const [first, second] = server.of("POST stage");
    expect(first?.body).toEqual({ refs: ["a|s2|TWO"], assets: null, vo: "aqua.eu", title: "", register: true });
    expect(first?.headers["Idempotency-Key"]).toBe(second?.headers["Idempotency-Key"]);
  });

  it("become code in the notebook that is open", async () => {
    const insertCode = vi.fn(async () => undefined);
    const server = federation().on("POST catalog/code", { kind: "xarray", title: "", language: "python", code: "import odc.stac", notes: ["It takes a minute."] });
    const { user, session } = await found(server, { insertCode });
    await act(() => session.selection.set(["a|s2|TWO"]));
    await user.click(await screen.findByRole("button", { name: /Load in notebook/ }));
    await user.click(await screen.findByRole("menuitem", { name: "xarray (odc-stac)" }));
    await waitFor(() => expect(insertCode).toHaveBeenCalledWith({ key: "catalogue-xarray", code: "import odc.stac" }));
    expect(server.of("POST catalog/code")[0]?.body).toMatchObject({ kind: "xarray", refs: ["a|s2|TWO"] });
    expect(await screen.findByText(/It takes a minute/)).toBeTruthy();
  });

  it("are compared, the first left and the second right", async () => {
    const server = federation()
      .on("GET layers/*", ({ path }) =>
        path.endsWith("tilejson")
          ? { tiles: [`/user/u/cscale/api/v1/${path.replace("tilejson", "tiles")}/{z}/{x}/{y}?show=`], bounds: [14, 46, 15, 47], minzoom: 8, maxzoom: 14 }
          : { layer: "", title: "", datetime: null, renderings: [{ id: "true-colour", title: "True colour", kind: "colours", unit: "", datetime: null, series: "" }], problem: "" },
      )
      .on("GET layers/item%7Ca%7Cs2%7CTWO/tiles/*", () => new Response("png"));
    const { user, session } = await found(server);
    await act(() => session.selection.set(["a|s2|ONE_SCENE_OF_JUNE", "a|s2|TWO"]));
    await user.click(await screen.findByRole("button", { name: "Compare" }));
    await waitFor(() => expect(theMap().rasters).toHaveLength(2));
    expect(theMap().swipe).toBe(0.5);
    const slider = await screen.findByRole("slider", { name: "Line between the two pictures" });
    slider.focus();
    await user.keyboard("{ArrowRight}");
    await waitFor(() => expect(theMap().swipe).toBeCloseTo(0.52));
    expect((await theMap().rasters[1]?.load(8, 1, 2, new AbortController().signal))?.size).toBe(3);
    expect(server.of("GET layers/item%7Ca%7Cs2%7CTWO/tiles/8/1/2*")).toHaveLength(1);
  });

  it("can be narrowed to some dates, in the list and on the map", async () => {
    const { user } = await found();
    const first = screen.getByRole("slider", { name: "First date that is shown" });
    await act(() => {
      (first as HTMLInputElement).value = (first as HTMLInputElement).max;
      first.dispatchEvent(new Event("input", { bubbles: true }));
    });
    await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(1));
    expect(theMap().footprints).toHaveLength(1);
    await user.click(screen.getByRole("button", { name: "Show all dates" }));
    await waitFor(() => expect(screen.getAllByRole("option")).toHaveLength(2));
  });
});

describe("what is kept", () => {
  it("is a search under a name, which fills in the form again", async () => {
    const user = userEvent.setup();
    const kept: Record<string, unknown>[] = [];
    const server = federation()
      .on("POST catalog/search", lines(page([], [])))
      .on("GET saved/searches", () => ({ searches: kept }))
      .on("POST saved/searches", ({ body }) => {
        kept.push({ ...(body as object), id: "s1", revision: 1, created: "", updated: "" });
        return kept[0] as object;
      });
    const session = await show(shell(), server);
    await act(() => session.datetime.set("2024-06-01T00:00:00Z/2024-06-30T23:59:59Z"));
    await user.click(screen.getByRole("button", { name: "Save" }));
    await user.type(await screen.findByRole("textbox", { name: "Name" }), "June");
    await user.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Save" }));
    await act(() => session.datetime.set(""));
    await user.click(await screen.findByRole("button", { name: /^June/ }));
    await waitFor(() => expect(server.of("POST catalog/search")).toHaveLength(1));
    expect(server.of("POST catalog/search")[0]?.body).toMatchObject({ datetime: "2024-06-01T00:00:00Z/2024-06-30T23:59:59Z" });
  });
});

describe("a link", () => {
  const told = { name: "Ω June", query: { bbox: [14, 46, 15, 47], datetime: "2024-06-01T00:00:00Z/2024-06-30T23:59:59Z", collections: ["a|s2"], max_cloud_cover: 20, filter: { op: "=", args: [{ property: "platform" }, HOSTILE] }, limit: 7 } } as unknown as Parameters<typeof packSearch>[0];

  it("opens the search that it was made of", async () => {
    const server = federation().on("POST catalog/search", lines(page([], [report("a")])));
    const session = await show(shell(), server);
    const packed = packSearch(told) as string;
    expect(packed).toMatch(/^[\w-]+$/);
    await act(() => openSearch(session, packed));
    expect(await screen.findByText("Nothing was found")).toBeTruthy();
    expect(server.of("POST catalog/search")[0]?.body).toEqual({ ...told.query, limit: 200, cursor: "" });
    expect(await screen.findByText(/“Ω June”, from a link/)).toBeTruthy();
  });

  it("is copied of a search that is kept, unless that is too long", async () => {
    const user = userEvent.setup();
    const kept = { ...told, id: "s1", revision: 1, created: "", updated: "", view: {} };
    const ring = Array.from({ length: 200 }, (_, n) => [Math.cos(n / 32), Math.sin(n / 32)]);
    const large = { ...kept, id: "s2", name: "Large", query: { intersects: { type: "Polygon", coordinates: [[...ring, ring[0]]] } } };
    const server = federation().on("GET saved/searches", { searches: [kept, large] });
    await show(shell(), server, { searchLink: (packed) => `https://hub.example/?s=${packed}` });
    await user.click(screen.getByRole("tab", { name: "Saved" }));
    await user.click(await screen.findByRole("button", { name: "More with Ω June" }));
    await user.click(screen.getByRole("menuitem", { name: "Copy a link" }));
    expect(await screen.findByText(/follows the link/)).toBeTruthy();
    expect(await navigator.clipboard.readText()).toBe(`https://hub.example/?s=${packSearch(told)}`);
    await user.click(screen.getByRole("button", { name: "More with Large" }));
    await user.click(screen.getByRole("menuitem", { name: "Copy a link" }));
    expect(await screen.findByText(/too long for a link/)).toBeTruthy();
  });

  it.each([
    ["cut", (packSearch(told) as string).slice(0, 40)],
    ["empty", ""],
    ["no JSON", btoa("<script>")],
    ["of another kind", btoa(JSON.stringify({ name: "x", query: 5 }))],
    ["with other types in it", btoa(JSON.stringify({ name: "x", query: { collections: { length: 1 }, datetime: [] } }))],
  ])("that is %s changes nothing", async (_, packed) => {
    const session = await show(shell(), federation());
    await act(() => session.datetime.set("2024-06-01T00:00:00Z/.."));
    await act(() => openSearch(session, packed));
    expect(await screen.findByText(/holds no search that can be read/)).toBeTruthy();
    expect(session.datetime.get()).toBe("2024-06-01T00:00:00Z/..");
  });
});

describe("everybody", () => {
  it("can use it: axe finds nothing serious in form, results and details", async () => {
    const user = userEvent.setup();
    const server = federation().on("POST catalog/search", lines({ type: "items", provider: "a", items: [slim("a", "ONE", "2024-06-01"), slim("a", "TWO", "2024-05-01")] }, page([0, 1], [report("a"), report("c", { status: "error", error: "Down." })], { complete: false })));
    await show(shell(), server);
    await screen.findByRole("checkbox", { name: /Sentinel-2 L1C/ });
    expect(await seriousViolations()).toEqual([]);
    await search(user);
    await screen.findByText(/from the archives that answered/);
    await user.click(screen.getByRole("button", { name: "How each archive did" }));
    expect(await seriousViolations()).toEqual([]);
    await user.click(screen.getAllByRole("option")[0] as HTMLElement);
    await screen.findByRole("article", { name: "ONE" });
    expect(await seriousViolations()).toEqual([]);
  });
});
