import { screen, waitFor, within } from "@testing-library/preact";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { Shell } from "../src/shell/Shell";
import { createStore } from "../src/state/store";
import { shared } from "../src/views/shared";
import { seriousViolations } from "./axe";
import { FakeServer, problem, type Asked } from "./fake-server";
import { show } from "./render";

const HOSTILE = "<img src=x onerror=\"globalThis.hit=true\">";
const REF = "aqua|ada|lake";
const AT = `shared/notebooks/${encodeURIComponent(REF)}`;

const entry = (changes: object = {}) => ({
  ref: REF,
  vo: "aqua",
  author: "ada",
  author_name: "Ada L.",
  title: "The lake",
  description: "How large it is.",
  date: "2025-03-01T10:00:00Z",
  version: 2,
  versions: 2,
  outputs: true,
  language: "python",
  picture: false,
  mine: true,
  may_remove: true,
  ...changes,
});
const gallery = (notebooks: object[], changes: object = {}) => ({ notebooks, total: notebooks.length, next: null, publish: ["aqua"], failed: {}, ...changes });
const preview = { cells: [{ kind: "markdown", source: "# Lake", html: "<h1>Lake</h1>", outputs: [] }, { kind: "code", source: `print("${HOSTILE}")`, html: "", outputs: [{ kind: "text", text: HOSTILE, picture: "" }, { kind: "left_out", text: "Not shown in a preview: text/html.", picture: "" }] }], cut: false };

function library(): FakeServer {
  return new FakeServer()
    .on("GET site", { user: "ada", vos: ["aqua", "water"], grants: [] })
    .on("GET shared/notebooks", gallery([entry(), entry({ ref: "aqua|bob|x", title: HOSTILE, description: HOSTILE, mine: false, may_remove: false, outputs: false, versions: 1, version: 1 })]))
    .on(`GET ${AT}`, ({ query }: Asked) => ({ notebook: entry({ version: query.version ?? 2 }), provenance: { author: "ada", author_name: "Ada L.", vo: "aqua", date: "", image: "lab:1", source: "lake.ipynb", source_sha256: "", opened_from: "" }, preview }))
    .on(`GET ${AT}/versions`, { versions: [{ version: 2, date: "2025-03-01T10:00:00Z" }, { version: 1, date: "2025-02-01T10:00:00Z" }] });
}

const shell = () => <Shell views={[shared]} at={createStore("shared")} />;
const look = async (user: ReturnType<typeof userEvent.setup>) => user.click(await screen.findByRole("button", { name: /The lake/ }));

describe("the gallery", () => {
  it("tells title, author, organisation and date, and what others wrote stays text", async () => {
    await show(shell(), library());
    const card = (await screen.findByText("The lake")).closest("li") as HTMLElement;
    expect(within(card).getByText("by Ada L.")).toBeTruthy();
    expect(within(card).getByText(/^aqua · .*2025/)).toBeTruthy();
    expect(within(card).getByText("yours")).toBeTruthy();
    expect(screen.getAllByText(HOSTILE)).toHaveLength(2);
    expect(document.querySelector("img")).toBeNull();
    expect(await seriousViolations()).toEqual([]);
  });

  it("is asked with what was filled in, and empty it says what to do", async () => {
    const user = userEvent.setup();
    const server = library().on("GET shared/notebooks", ({ query }: Asked) => gallery(query.mine ? [] : [entry()]));
    await show(shell(), server);
    await screen.findByText("The lake");
    await user.selectOptions(screen.getByRole("combobox", { name: "Virtual organisation" }), "water");
    await user.click(screen.getByRole("checkbox", { name: "Only mine" }));
    expect(await screen.findByText("No shared notebook fits")).toBeTruthy();
    expect(server.of("GET shared/notebooks").at(-1)?.query).toMatchObject({ vo: "water", mine: true, offset: 0 });
    await user.click(screen.getByRole("button", { name: "Show all" }));
    expect(await screen.findByText("The lake")).toBeTruthy();
  });

  it("names the organisation that could not be looked at", async () => {
    await show(shell(), library().on("GET shared/notebooks", gallery([], { failed: { water: "The store does not answer." } })));
    expect(await screen.findByText("The notebooks of water cannot be looked at now.")).toBeTruthy();
  });
});

describe("a notebook", () => {
  it("is looked at without anything of it running", async () => {
    const user = userEvent.setup();
    await show(shell(), library());
    await look(user);
    expect(await screen.findByLabelText("Source of cell 2")).toBeTruthy();
    expect(screen.getByLabelText("Output 1 of cell 2").textContent).toBe(HOSTILE);
    expect(screen.getByText("Not shown in a preview: text/html.")).toBeTruthy();
    const frame = screen.getByTitle("Text of cell 1");
    expect(frame.getAttribute("sandbox")).not.toContain("allow-scripts");
    expect(frame.getAttribute("srcdoc")).toContain("default-src 'none'");
    expect((globalThis as { hit?: boolean }).hit).toBeUndefined();
    expect(await seriousViolations()).toEqual([]);
  });

  it("is opened as a copy, of the version that is looked at", async () => {
    const user = userEvent.setup();
    const openPath = vi.fn(async () => undefined);
    const server = library().on(`POST ${AT}/copies`, { path: "Opened notebooks/lake.ipynb" });
    await show(shell(), server, { openPath });
    await look(user);
    await user.selectOptions(await screen.findByRole("combobox", { name: "Version" }), "1");
    await waitFor(() => expect(server.of(`GET ${AT}`).at(-1)?.query).toEqual({ version: 1 }));
    await user.click(screen.getByRole("button", { name: "Open a copy" }));
    await waitFor(() => expect(openPath).toHaveBeenCalledWith("Opened notebooks/lake.ipynb"));
    expect(server.of(`POST ${AT}/copies`)[0]?.body).toEqual({ version: 1 });
  });

  it("is handed on by its link", async () => {
    const user = userEvent.setup();
    await show(shell(), library().on(`GET ${AT}/link`, { url: "https://hub.example/s/lake" }));
    await look(user);
    await user.click(await screen.findByRole("button", { name: "Copy link" }));
    expect(await screen.findByText(/The link was copied/)).toBeTruthy();
    expect(await navigator.clipboard.readText()).toBe("https://hub.example/s/lake");
  });

  it("is taken down after a question, and the gallery asks again", async () => {
    const user = userEvent.setup();
    const server = library().on(`DELETE ${AT}`, { versions: [1, 2] });
    await show(shell(), server);
    await look(user);
    await user.click(await screen.findByRole("button", { name: "Take down…" }));
    expect(server.of(`DELETE ${AT}`)).toHaveLength(0);
    server.on("GET shared/notebooks", gallery([]));
    await user.click(await screen.findByRole("button", { name: "Take all 2 versions down" }));
    expect(await screen.findByText("Nothing is shared yet")).toBeTruthy();
  });
});

describe("publishing", () => {
  const own = { notebooks: [{ path: "work/small_lake.ipynb", modified: "2025-03-02T10:00:00Z" }, { path: `${HOSTILE}.ipynb`, modified: "2025-03-01T10:00:00Z" }], complete: false };
  const begin = async (user: ReturnType<typeof userEvent.setup>) => {
    await user.click(await screen.findByRole("button", { name: "Publish a notebook…" }));
    return within(await screen.findByRole("dialog"));
  };

  it("sends the notebook that was chosen and shows it; outputs are kept only when that is said", async () => {
    const user = userEvent.setup();
    const server = library().on("POST shared/notebooks", entry()).on("GET shared/own-notebooks", own);
    await show(shell(), server);
    const dialog = await begin(user);
    const send = dialog.getByRole("button", { name: "Publish" }) as HTMLButtonElement;
    expect(await dialog.findByText(`${HOSTILE}.ipynb`)).toBeTruthy();
    expect(dialog.getByText(/Not all of your folders/)).toBeTruthy();
    expect(send.disabled).toBe(true);
    await user.type(dialog.getByRole("searchbox", { name: "Notebook" }), "work lake");
    expect(dialog.getAllByRole("option")).toHaveLength(1);
    expect(send.disabled).toBe(true);
    await user.click(dialog.getByRole("option", { name: /small_lake/ }));
    expect((dialog.getByRole("textbox", { name: "Title" }) as HTMLInputElement).value).toBe("Small lake");
    expect(await seriousViolations()).toEqual([]);
    await user.clear(dialog.getByRole("textbox", { name: "Title" }));
    await user.type(dialog.getByRole("textbox", { name: "Title" }), "The lake");
    await user.click(send);
    expect(await screen.findByRole("article", { name: "The lake" })).toBeTruthy();
    expect(server.of("POST shared/notebooks")[0]?.body).toEqual({ path: "work/small_lake.ipynb", vo: "aqua", title: "The lake", description: "", outputs: false });
  });

  it("takes the path of a notebook that is not listed, also when none could be", async () => {
    const user = userEvent.setup();
    const server = library().on("POST shared/notebooks", entry()).on("GET shared/own-notebooks", problem(504, { message: "Your home folder does not answer.", retryable: true }));
    await show(shell(), server);
    const dialog = await begin(user);
    expect(await dialog.findByText("Your home folder does not answer.")).toBeTruthy();
    await user.type(dialog.getByRole("searchbox", { name: "Notebook" }), "/s3/aqua/lake.ipynb");
    await user.click(dialog.getByRole("button", { name: "Publish" }));
    await waitFor(() => expect(server.of("POST shared/notebooks")[0]?.body).toMatchObject({ path: "s3/aqua/lake.ipynb", title: "Lake" }));
  });

  it("that is refused for secrets names each cell", async () => {
    const user = userEvent.setup();
    const refusal = { code: "secrets_found", message: "secrets", hint: "Take them out.", retryable: false, request_id: "r", details: { findings: [{ place: "cell 3", line: 2, kind: "AWS access key" }] } };
    const server = library().on("POST shared/notebooks", () => new Response(JSON.stringify(refusal), { status: 422 })).on("GET shared/own-notebooks", own);
    await show(shell(), server);
    const dialog = await begin(user);
    await user.click(await dialog.findByRole("option", { name: /small_lake/ }));
    await user.click(dialog.getByRole("button", { name: "Publish" }));
    expect(await screen.findByText("AWS access key: cell 3, line 2")).toBeTruthy();
    expect(screen.getByText(/Nothing was published/)).toBeTruthy();
    expect(await seriousViolations()).toEqual([]);
  });
});
