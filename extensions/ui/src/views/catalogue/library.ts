/** Searches and items that the person keeps: with the server, so that they are there from everywhere. */

import { asProblem, type ApiProblem } from "../../api/problem";
import type { Favourite, SavedSearch, SearchContent } from "../../api/schema";
import { areaBox, parseArea } from "../../map/geo";
import type { Area, Session } from "../../state/session";
import { isArea } from "../../state/session";
import { createStore, type Store } from "../../state/store";
import { EMPTY_FORM, formStore, isForm, questionOf, type Condition, type Form, type Operator } from "./form";
import { catalogueUi } from "./ui-state";

export interface LibraryState {
  searches: readonly SavedSearch[];
  favourites: readonly Favourite[];
  known: boolean;
  problem: ApiProblem | null;
}

export class Library {
  readonly state: Store<LibraryState> = createStore<LibraryState>({ searches: [], favourites: [], known: false, problem: null });
  private asked: Promise<void> | null = null;

  constructor(private readonly session: Session) {}

  /** Ask for what is kept, once; anew where that is wanted. */
  load(anew = false): Promise<void> {
    if (!this.asked || anew) this.asked = this.read();
    return this.asked;
  }

  /**
   * Keep what is filled in under a name; a search of that name is replaced.
   *
   * @throws ApiProblem
   */
  async save(name: string): Promise<void> {
    const { area, datetime, host } = this.session;
    const form = formStore(this.session).get();
    await this.keep({
      name,
      query: questionOf(form, area.get(), datetime.get(), host.preferences.get().pageSize) as SearchContent["query"],
      view: { form, area: area.get(), datetime: datetime.get() },
    });
  }

  /**
   * Keep a search that somebody gave, as JSON.
   *
   * @throws ApiProblem
   */
  async take(text: string): Promise<string> {
    const { name, query, view } = JSON.parse(text) as SearchContent;
    await this.keep({ name, query, view: view ?? {} });
    return name;
  }

  async remove(id: string): Promise<void> {
    await this.session.api.delete("/saved/searches/{search}", { path: { search: id } });
    await this.load(true);
  }

  /** Make an item a favourite, or no longer. */
  async toggle(ref: string, title: string): Promise<void> {
    const { api } = this.session;
    const before = this.state.get().favourites;
    if (before.some((favourite) => favourite.ref === ref)) {
      this.state.set((state) => ({ ...state, favourites: before.filter((favourite) => favourite.ref !== ref) }));
      await api.delete("/saved/favourites", { query: { ref } });
    } else {
      this.state.set((state) => ({ ...state, favourites: [{ ref, title, added: "" }, ...before] }));
      await api.put("/saved/favourites", { body: { ref, title: title.slice(0, 300) } });
    }
    await this.load(true);
  }

  private async keep(content: SearchContent): Promise<void> {
    const { api } = this.session;
    const known = this.state.get().searches.find(({ name }) => name === content.name);
    if (known) await api.put("/saved/searches/{search}", { path: { search: known.id }, body: { ...content, revision: known.revision } });
    else await api.post("/saved/searches", { body: content });
    await this.load(true);
  }

  private async read(): Promise<void> {
    const { api } = this.session;
    try {
      const [{ searches }, { favourites }] = await Promise.all([api.get("/saved/searches", {}), api.get("/saved/favourites", {})]);
      this.state.set({ searches, favourites, known: true, problem: null });
    } catch (thrown) {
      this.asked = null;
      this.state.set((state) => ({ ...state, problem: asProblem(thrown) }));
    }
  }
}

export function libraryOf(session: Session): Library {
  return session.part("catalogue:library", (made) => new Library(made));
}

/** A search as text, to be given to others. */
export function shared({ name, query, view }: SearchContent): string {
  return JSON.stringify({ name, query, view }, null, 2);
}

/** Fill in a search that was kept; what the form has no field for is said in `left`. */
export function fillIn(session: Session, { query, view }: SearchContent): { left: string[] } {
  const kept = view as { form?: unknown; area?: unknown; datetime?: unknown } | undefined;
  const whole = isForm(kept?.form) && isArea(kept.area ?? null) && typeof kept.datetime === "string";
  const { form, area, datetime, left } = whole
    ? { form: kept.form as Form, area: (kept.area ?? null) as Area | null, datetime: kept.datetime as string, left: [] }
    : formOf(query);
  formStore(session).set(form);
  session.area.set(area);
  session.datetime.set(datetime);
  const box = area && areaBox(area);
  if (box) catalogueUi(session).fit.set(box);
  return { left };
}

const OPERATORS: readonly string[] = ["=", "<>", "<", "<=", ">", ">=", "like"];

function conditionOf(value: unknown): Condition | null {
  const { op, args } = (value ?? {}) as { op?: unknown; args?: unknown };
  if (typeof op !== "string" || !OPERATORS.includes(op) || !Array.isArray(args) || args.length !== 2) return null;
  const [{ property } = {} as { property?: unknown }, right] = args as [{ property?: unknown }, unknown];
  if (typeof property !== "string" || !["string", "number", "boolean"].includes(typeof right)) return null;
  const kind = typeof right === "number" ? "number" : typeof right === "boolean" ? "boolean" : "text";
  return { property, operator: op as Operator, value: op === "like" ? String(right).replace(/^%|%$/g, "") : String(right), kind };
}

/** The form of a question that was not made here, as far as there are fields for it. */
export function formOf(query: Partial<SearchContent["query"]>): { form: Form; area: Area | null; datetime: string; left: string[] } {
  const left: string[] = [];
  const { op, args } = (query.filter ?? {}) as { op?: unknown; args?: unknown };
  const parts = query.filter ? (op === "and" && Array.isArray(args) ? (args as unknown[]) : [query.filter]) : [];
  const conditions = parts.flatMap((part) => conditionOf(part) ?? []);
  if (conditions.length < parts.length) left.push("filter");
  let area: Area | null = null;
  try {
    if (query.intersects) area = parseArea(JSON.stringify(query.intersects));
    else if (query.bbox && query.bbox.length === 4) area = parseArea(query.bbox.join(", "));
  } catch {
    left.push("intersects");
  }
  if (query.ids?.length) left.push("ids");
  const [sort] = query.sortby ?? [];
  return {
    form: {
      ...EMPTY_FORM,
      collections: query.collections ?? [],
      providers: query.providers ?? [],
      maxCloudCover: query.max_cloud_cover ?? 100,
      conditions,
      sort: sort?.field === "eo:cloud_cover" ? "clearest" : sort?.field === "datetime" && sort.direction === "asc" ? "oldest" : "newest",
    },
    area,
    datetime: query.datetime ?? "",
    left,
  };
}
