import { act, fireEvent, screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { Shell } from "../src/shell/Shell";
import { createSession } from "../src/state/session";
import { createStore } from "../src/state/store";
import { storage } from "../src/views/storage";
import { Deletions } from "../src/views/storage/deletions";
import { endOf } from "../src/views/storage/where";
import { Uploads } from "../src/views/storage/uploads";
import { seriousViolations } from "./axe";
import { maps } from "./fake-map";
import { FakeServer, problem, stream, type Asked } from "./fake-server";
import { fakeHost, show } from "./render";

vi.mock("../src/map/leaflet-map", () => import("./fake-map"));

const HOSTILE = "<img src=x onerror=\"globalThis.hit=true\">.tif";
const MB = 1_000_000;
const SMALLEST = 5;

const place = (changes: object = {}) => ({
  bucket: "vo-aqua",
  prefix: "home/ada/",
  access: "rw",
  vo: "aqua",
  purpose: "home",
  online: true,
  problem: "",
  room: 500 * MB,
  mount: { path: "/s3/vo-aqua/home/ada/", bucket: "vo-aqua", prefix: "home/ada/", access: "rw", state: "ok", detail: "" },
  ...changes,
});
const object = (key: string, changes: object = {}) => ({ key, size: 2 * MB, modified: "2025-03-01T10:00:00Z", layer: "", ...changes });
const folder = (changes: object = {}) => ({ bucket: "vo-aqua", prefix: "home/ada/", folders: ["home/ada/runs/"], objects: [object("home/ada/notes.txt")], next: "", ...changes });

function store(): FakeServer {
  return new FakeServer()
    .on("GET storage/places", { places: [place(), place({ prefix: "products/", purpose: "products", access: "ro", room: null, online: false, problem: "The object store did not answer within 5 seconds.", mount: { ...place().mount, state: "stalled", detail: "No answer for 20 s." } })] })
    .on("GET storage/objects", ({ query }: Asked) =>
      query.prefix === "home/ada/" ? folder() : folder({ prefix: query.prefix, folders: [], objects: [object(`${query.prefix}${HOSTILE}`, { layer: "object|vo-aqua|x" })] }),
    );
}

/** Takes what is uploaded; the first piece can be made to fail. */
function taking(server: FakeServer, size: number, failures: Response[] = []): { received: () => number } {
  let received = 0;
  const state = () => ({ id: "up1", bucket: "vo-aqua", key: "home/ada/a.bin", size, received, smallest_part: SMALLEST, largest_part: 4 * SMALLEST });
  server
    .on("POST storage/uploads", state)
    .on("GET storage/uploads/up1", state)
    .on("PUT storage/uploads/up1", ({ query, body }: Asked) => {
      const failure = failures.shift();
      if (failure) return failure;
      if (query.at !== received) return problem(409, { code: "conflict", message: "other", retryable: true });
      received += (body as Blob).size;
      return state();
    })
    .on("POST storage/uploads/up1/complete", object("home/ada/a.bin"))
    .on("DELETE storage/uploads/up1", () => new Response(null, { status: 204 }));
  return { received: () => received };
}

const shell = () => <Shell views={[storage]} at={createStore("storage")} />;
const file = (size: number, name = "a.bin") => new File(["x".repeat(size)], name, { lastModified: 7 });
const open = async (user: ReturnType<typeof userEvent.setup>) => user.click(await screen.findByRole("button", { name: "Open Your own folder in aqua" }));

describe("a path", () => {
  it("that is long is shown by its end", () => {
    expect(endOf("/s3/vo-aqua/home/ada/")).toBe("/s3/vo-aqua/home/ada/");
    expect(endOf("/home/users/of/the/whole/institute/ada/s3/vo-aqua/products")).toBe("…/whole/institute/ada/s3/vo-aqua/products");
    expect(endOf("x".repeat(90))).toBe(`…/${"x".repeat(90)}`);
  });
});

describe("places", () => {
  it("say what they are for, how they are and what room there is", async () => {
    await show(shell(), store());
    const home = (await screen.findByText("Your own folder in aqua")).closest("li") as HTMLElement;
    expect(within(home).getByText("read and write")).toBeTruthy();
    expect(within(home).getByText("/s3/vo-aqua/home/ada/")).toBeTruthy();
    expect(within(home).getByText("The quota of the bucket leaves 500 MB.")).toBeTruthy();
    const products = screen.getByText("Products of aqua").closest("li") as HTMLElement;
    expect(within(products).getByText("does not answer")).toBeTruthy();
    expect(within(products).getByText("The object store did not answer within 5 seconds.")).toBeTruthy();
    expect(within(products).getByText("the mount does not answer")).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
  });

  it("are counted on demand, and the count can be seen growing", async () => {
    const user = userEvent.setup();
    const answer = stream();
    await show(shell(), store().on("GET storage/usage", () => answer.response));
    await user.click(await screen.findByRole("button", { name: "Count what is in vo-aqua/home/ada/" }));
    answer.line({ type: "counted", objects: 1000, size: 3 * MB });
    expect(await screen.findByText("3.0 MB in 1000 objects so far")).toBeTruthy();
    answer.line({ type: "usage", objects: 1200, size: 500 * MB, folders: { "runs/": 400 * MB, "": 100 * MB }, complete: true });
    answer.end();
    expect(await screen.findByText("500 MB in 1200 objects")).toBeTruthy();
    expect(screen.getByRole("progressbar", { name: /Share of the room/ }).getAttribute("aria-valuenow")).toBe("50");
  });

  it("that are none are explained", async () => {
    await show(shell(), store().on("GET storage/places", { places: [] }));
    expect(await screen.findByText("You have no place in the object store")).toBeTruthy();
  });
});

describe("a folder", () => {
  it("is browsed, is there again after a reload, and foreign names stay text", async () => {
    const user = userEvent.setup();
    const session = await show(shell(), store());
    await open(user);
    await user.click(await screen.findByRole("option", { name: /runs\// }));
    expect(await screen.findByTitle(HOSTILE)).toBeTruthy();
    expect(document.querySelector("img")).toBeNull();
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
    await session.memory.flush();
    document.body.replaceChildren();
    await show(shell(), store());
    expect(await screen.findByTitle(HOSTILE)).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Your own folder in aqua" }));
    expect(await screen.findByText("notes.txt")).toBeTruthy();
  });

  it("tells why it cannot be looked at, and is asked again", async () => {
    const user = userEvent.setup();
    const server = store().on("GET storage/objects", problem(503, { message: "The object store does not answer.", retryable: true }));
    await show(shell(), server);
    await open(user);
    expect(await screen.findByText("The object store does not answer.")).toBeTruthy();
    server.on("GET storage/objects", folder());
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("notes.txt")).toBeTruthy();
  });

  it("goes on where a page ends", async () => {
    const user = userEvent.setup();
    let fails = true;
    const server = store().on("GET storage/objects", ({ query }: Asked) =>
      !query.after ? folder({ next: "mark" }) : fails ? problem(503, { message: "The object store does not answer.", retryable: true }) : folder({ folders: [], objects: [object("home/ada/z.txt")] }),
    );
    await show(shell(), server);
    await open(user);
    await user.click(await screen.findByRole("button", { name: "Show more" }));
    await screen.findByText("The object store does not answer.");
    expect(screen.getByText("notes.txt")).toBeTruthy();
    fails = false;
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByText("z.txt")).toBeTruthy();
    expect(screen.getByText("notes.txt")).toBeTruthy();
    expect(screen.queryByRole("button", { name: "Show more" })).toBeNull();
  });
});

describe("an object", () => {
  it("is linked to for as long as was chosen", async () => {
    const user = userEvent.setup();
    const server = store().on("POST storage/links", { url: "https://store.example/x?sig=1", expires: "2025-03-02T10:00:00Z" });
    await show(shell(), server);
    await open(user);
    await user.click(await screen.findByText("notes.txt"));
    await user.click(await screen.findByRole("button", { name: "Make a link…" }));
    await user.selectOptions(await screen.findByRole("combobox", { name: "It works for" }), "an hour");
    await user.click(screen.getByRole("button", { name: "Make the link" }));
    expect(await screen.findByDisplayValue("https://store.example/x?sig=1")).toBeTruthy();
    expect(server.of("POST storage/links")[0]?.body).toEqual({ bucket: "vo-aqua", key: "home/ada/notes.txt", seconds: 3600 });
    expect(await seriousViolations()).toEqual([]);
  });

  it("is deleted only after a question, and the folder looks again", async () => {
    const user = userEvent.setup();
    const server = store().on("DELETE storage/objects", () => new Response(null, { status: 204 }));
    await show(shell(), server);
    await open(user);
    await user.click(await screen.findByText("notes.txt"));
    await user.click(await screen.findByRole("button", { name: "Delete…" }));
    expect(server.of("DELETE storage/objects")).toHaveLength(0);
    server.on("GET storage/objects", folder({ objects: [] }));
    await user.click(await screen.findByRole("button", { name: "Delete" }));
    await waitFor(() => expect(screen.queryByText("notes.txt")).toBeNull());
    expect(server.of("DELETE storage/objects")[0]?.query).toEqual({ bucket: "vo-aqua", key: "home/ada/notes.txt" });
  });

  it("that is a raster is shown on a map", async () => {
    const user = userEvent.setup();
    const server = store()
      .on("GET layers/*", { layer: "object|vo-aqua|x", title: "x", datetime: null, renderings: [{ id: "one", title: "Band 1", kind: "values", unit: "m", datetime: null, series: "" }], problem: "" })
      .on("GET layers/object%7Cvo-aqua%7Cx/tilejson", { tilejson: "3.0.0", name: "x", scheme: "xyz", tiles: ["/cscale/api/v1/layers/l/tiles/{z}/{x}/{y}.png"], bounds: [14, 46, 15, 47], minzoom: 4, maxzoom: 12 })
      .on("GET layers/object%7Cvo-aqua%7Cx/legend", { kind: "values", unit: "m", stops: [{ value: 0, colour: "#000000", label: "" }, { value: 9, colour: "#ffffff", label: "" }] });
    await show(shell(), server);
    await open(user);
    await user.click(await screen.findByRole("option", { name: /runs\// }));
    await user.click(await screen.findByTitle(HOSTILE));
    await user.click(await screen.findByRole("button", { name: "Show on map" }));
    await waitFor(() => expect(maps.at(-1)?.rasters).toHaveLength(1));
    expect(maps.at(-1)?.fitted).toEqual([14, 46, 15, 47]);
    expect(await screen.findByText("9 m")).toBeTruthy();
  });
});

describe("a folder", () => {
  const REST = { type: "deleted", objects: 3, deleted: 2, size: 8, refused: [{ key: "home/ada/runs/a.lock", why: `It is locked. ${HOSTILE}` }], more: false };
  const counted = JSON.stringify({ type: "usage", objects: 3, size: 12, folders: {}, complete: true });
  const intoFolder = async (user: ReturnType<typeof userEvent.setup>) => {
    await open(user);
    await user.click(await screen.findByRole("option", { name: /runs\// }));
    await user.click(await screen.findByRole("button", { name: "Delete this folder…" }));
  };

  it("is deleted after its content was counted; how far it is and what was kept is told", async () => {
    const user = userEvent.setup();
    const [count, lines] = [stream(), stream()];
    const server = store().on("GET storage/usage", () => count.response).on("DELETE storage/folders", () => lines.response);
    await show(shell(), server);
    await intoFolder(user);
    const dialog = within(await screen.findByRole("dialog", { name: "Delete the folder runs?" }));
    expect((dialog.getByRole("button", { name: "Delete" }) as HTMLButtonElement).disabled).toBe(true);
    count.line(JSON.parse(counted) as object);
    count.end();
    expect(await dialog.findByText("In it: 3 files, 12 B.")).toBeTruthy();
    expect(server.of("DELETE storage/folders")).toHaveLength(0);
    expect(await seriousViolations()).toEqual([]);
    await user.click(dialog.getByRole("button", { name: "Delete 3 files" }));
    expect(server.of("DELETE storage/folders")[0]?.query).toEqual({ bucket: "vo-aqua", prefix: "home/ada/runs/" });
    expect(await screen.findByText("notes.txt")).toBeTruthy(); // the folder around it
    const before = server.of("GET storage/objects").length;
    lines.line({ type: "deleting", objects: 3, deleted: 0, more: false });
    expect(await screen.findByText("Looking what is in it: 3 so far")).toBeTruthy();
    lines.line({ type: "deleting", objects: 3, deleted: 1, more: false });
    expect(await screen.findByText("1 of 3 files deleted")).toBeTruthy();
    expect(screen.getByRole("progressbar", { name: "Deletion of runs" }).getAttribute("aria-valuenow")).toBe("33");
    lines.line(REST);
    lines.end();
    expect(await screen.findByText("2 of 3 files deleted; 1 file was kept.")).toBeTruthy();
    expect(screen.getByText("a.lock:", { exact: false }).textContent).toBe(`a.lock: It is locked. ${HOSTILE}`);
    await waitFor(() => expect(server.of("GET storage/objects").length).toBe(before + 1));
    expect(await seriousViolations()).toEqual([]);

    server.on("DELETE storage/folders", JSON.stringify({ ...REST, objects: 1, deleted: 1, refused: [] }));
    await user.click(screen.getByRole("button", { name: "Delete the rest of runs" }));
    expect(await screen.findByText("Deleted, with 1 file")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Take runs from the list" }));
    expect(screen.queryByRole("region", { name: "Deletions" })).toBeNull();
  });

  it("that is empty is deleted, too", async () => {
    const user = userEvent.setup();
    const server = store().on("GET storage/usage", JSON.stringify({ type: "usage", objects: 0, size: 0, folders: {}, complete: true }));
    server.on("DELETE storage/folders", JSON.stringify({ ...REST, objects: 0, deleted: 0, size: 0, refused: [] }));
    await show(shell(), server);
    await intoFolder(user);
    expect(await screen.findByText("It is empty.")).toBeTruthy();
    await user.click(screen.getByRole("button", { name: "Delete" }));
    expect(await screen.findByText("Deleted; it was empty")).toBeTruthy();
  });

  it("that others have too is said to be theirs, and a place or what may only be read has no button", async () => {
    const user = userEvent.setup();
    const server = store().on("GET storage/usage", counted);
    server.on("GET storage/places", { places: [place({ purpose: "shared" })] });
    await show(shell(), server);
    await user.click(await screen.findByRole("button", { name: "Open Shared in aqua" }));
    await screen.findByRole("option", { name: /runs\// });
    expect(screen.queryByRole("button", { name: "Delete this folder…" })).toBeNull();
    await user.click(screen.getByRole("option", { name: /runs\// }));
    await user.click(await screen.findByRole("button", { name: "Delete this folder…" }));
    expect(await screen.findByText(/other members of aqua may be working with it/)).toBeTruthy();
    await user.click(await screen.findByRole("button", { name: "Keep it" }));
    expect(server.of("DELETE storage/folders")).toHaveLength(0);
  });

  it("that holds more than one request deletes is asked for again", async () => {
    const server = store();
    let asked = 0;
    server.on("DELETE storage/folders", () => ({ ...REST, objects: 3, deleted: 3, refused: [], more: ++asked < 3 }));
    const deletions = new Deletions(await createSession(server, fakeHost()));
    deletions.begin("vo-aqua", "home/ada/runs/");
    await waitFor(() => expect(deletions.list.get()[0]).toMatchObject({ phase: "done", deleted: 9, objects: 9 }));
    expect(asked).toBe(3);
  });

  it("stops when it is told to, and says why it could not go on", async () => {
    const server = store();
    server.on("DELETE storage/folders", ({ signal }: Asked) => new Promise<Response>((_, failed) => signal?.addEventListener("abort", () => failed(signal.reason))));
    const deletions = new Deletions(await createSession(server, fakeHost()));
    deletions.begin("vo-aqua", "home/ada/runs/");
    const { id } = deletions.list.get()[0] ?? { id: "" };
    await waitFor(() => expect(server.of("DELETE storage/folders")).toHaveLength(1));
    deletions.stop(id);
    await waitFor(() => expect(deletions.list.get()[0]?.phase).toBe("stopped"));
    server.on("DELETE storage/folders", JSON.stringify({ type: "problem", code: "upstream", message: "The store is away.", hint: "", retryable: true, request_id: "r" }));
    deletions.again(id);
    await waitFor(() => expect(deletions.list.get()[0]?.problem?.message).toBe("The store is away."));
    server.on("DELETE storage/folders", JSON.stringify({ type: "deleting", objects: 3, deleted: 1, more: false }));
    deletions.again(id);
    await waitFor(() => expect(deletions.list.get()[0]).toMatchObject({ phase: "failed", deleted: 1, problem: { message: "The connection ended before all was deleted." } }));
  });

  it("whose deletion a reload broke off is there again", async () => {
    const user = userEvent.setup();
    const server = store();
    const lines = stream();
    server.on("DELETE storage/folders", () => lines.response);
    const session = await createSession(server, fakeHost());
    const deletions = new Deletions(session);
    deletions.begin("vo-aqua", "home/ada/runs/");
    lines.line({ type: "deleting", objects: 3, deleted: 1, more: false });
    await waitFor(() => expect(deletions.list.get()[0]?.deleted).toBe(1));
    await session.memory.flush();

    await show(shell(), server);
    expect(await screen.findByText("Broken off by a reload: 1 of 3 files deleted, the rest is kept.")).toBeTruthy();
    server.on("DELETE storage/folders", JSON.stringify({ ...REST, objects: 2, deleted: 2, refused: [] }));
    await user.click(screen.getByRole("button", { name: "Delete the rest of runs" }));
    expect(await screen.findByText("Deleted, with 2 files")).toBeTruthy();
  });
});

describe("an upload", () => {
  it("that is dropped goes piece by piece, and the folder looks again", async () => {
    const user = userEvent.setup();
    const server = store();
    const taken = taking(server, 23);
    await show(shell(), server);
    await open(user);
    const list = await screen.findByRole("listbox", { name: "What is in this folder" });
    await waitFor(() => expect((screen.getByRole("button", { name: "Upload…" }) as HTMLButtonElement).disabled).toBe(false));
    const before = server.of("GET storage/objects").length;
    const dataTransfer = { types: ["Files"], items: [], files: [file(23)] };
    fireEvent.dragOver(list, { dataTransfer });
    expect(screen.getByText("Drop to upload here")).toBeTruthy();
    fireEvent.drop(list, { dataTransfer });
    expect(await screen.findByText("1 file was uploaded")).toBeTruthy();
    expect(taken.received()).toBe(23);
    expect(server.of("POST storage/uploads")[0]?.body).toMatchObject({ bucket: "vo-aqua", key: "home/ada/a.bin", size: 23, replace: false });
    expect(server.of("PUT storage/uploads/up1").map(({ query }) => query.at)).toEqual([0, 5, 15]);
    await waitFor(() => expect(server.of("GET storage/objects").length).toBe(before + 1));
    expect(await seriousViolations()).toEqual([]);
  });

  it("asks before it replaces", async () => {
    const user = userEvent.setup();
    const server = store();
    taking(server, 3);
    server.on("POST storage/uploads", ({ body }: Asked) =>
      (body as { replace: boolean }).replace
        ? { id: "up1", bucket: "vo-aqua", key: "k", size: 3, received: 0, smallest_part: 5, largest_part: 16 }
        : problem(409, { code: "conflict", message: "There is an object." }),
    );
    await show(shell(), server);
    await open(user);
    await waitFor(() => expect((screen.getByRole("button", { name: "Upload…" }) as HTMLButtonElement).disabled).toBe(false));
    await user.upload(screen.getByLabelText("Files to upload"), file(3));
    await user.click(await screen.findByRole("button", { name: "Replace a.bin" }));
    expect(await screen.findByText("1 file was uploaded")).toBeTruthy();
  });

  it("goes on by itself when a piece fails, from what has arrived", async () => {
    const server = store();
    const taken = taking(server, 12, [problem(503, { message: "busy", retryable: true }), problem(409, { code: "conflict", message: "other", retryable: true })]);
    const uploads = new Uploads(await createSession(server, fakeHost()), 1);
    uploads.add("vo-aqua", "home/ada/", [{ path: "a.bin", file: file(12) }]);
    await waitFor(() => expect(uploads.list.get()[0]?.phase).toBe("done"));
    expect(taken.received()).toBe(12);
    expect(server.of("GET storage/uploads/up1")).toHaveLength(2);
  });

  it("stops with the reason when it is refused, and tries again when it is told to", async () => {
    const server = store();
    taking(server, 12, [problem(507, { code: "storage_full", message: "The quota is used up." })]);
    const uploads = new Uploads(await createSession(server, fakeHost()), 1);
    uploads.add("vo-aqua", "home/ada/", [{ path: "a.bin", file: file(12) }]);
    await waitFor(() => expect(uploads.list.get()[0]?.problem?.message).toBe("The quota is used up."));
    uploads.resume(uploads.list.get()[0]?.id ?? "");
    await waitFor(() => expect(uploads.list.get()[0]?.phase).toBe("done"));
    expect(server.of("POST storage/uploads")).toHaveLength(1);
  });

  it("is paused, and goes on after a reload with the same file only", async () => {
    const user = userEvent.setup();
    const server = store();
    const taken = taking(server, 12);
    const host = fakeHost();
    const session = await createSession(server, host);
    const uploads = new Uploads(session, 1);
    server.on("PUT storage/uploads/up1", ({ signal }: Asked) => new Promise<Response>((_, failed) => signal?.addEventListener("abort", () => failed(signal.reason))));
    uploads.add("vo-aqua", "home/ada/", [{ path: "a.bin", file: file(12) }]);
    await waitFor(() => expect(server.of("PUT storage/uploads/up1")).toHaveLength(1));
    uploads.pause(uploads.list.get()[0]?.id ?? "");
    expect(uploads.list.get()[0]?.phase).toBe("paused");
    await session.memory.flush();
    taking(server, 12);
    expect(taken.received()).toBe(0);

    await show(shell(), server);
    expect(await screen.findByText(/Choose the same file again to go on/)).toBeTruthy();
    await user.upload(screen.getByLabelText("File for a.bin"), file(11));
    expect(await screen.findByText(/That is another file/)).toBeTruthy();
    await user.upload(screen.getByLabelText("File for a.bin"), file(12));
    expect(await screen.findByText("1 file was uploaded")).toBeTruthy();
    expect(server.of("POST storage/uploads")).toHaveLength(1);
  });

  it("that is given up is thrown away at the store", async () => {
    const server = store();
    taking(server, 12, [problem(507, { message: "full" })]);
    const uploads = new Uploads(await createSession(server, fakeHost()), 1);
    uploads.add("vo-aqua", "home/ada/", [{ path: "a.bin", file: file(12) }]);
    await waitFor(() => expect(uploads.list.get()[0]?.phase).toBe("failed"));
    act(() => uploads.remove(uploads.list.get()[0]?.id ?? ""));
    expect(uploads.list.get()).toEqual([]);
    await waitFor(() => expect(server.of("DELETE storage/uploads/up1")).toHaveLength(1));
  });
});
