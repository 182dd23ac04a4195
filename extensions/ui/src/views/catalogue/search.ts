/**
 * A search that goes on while the person looks: items appear as archives answer, and each archive
 * says how it did. Lives in the session, so that changing the view does not end it.
 */

import { linesOf } from "../../api/client";
import { ApiProblem, asProblem, isAbort } from "../../api/problem";
import type { PageLine, ProblemLine, ReportLine, ItemsLine, SearchRequest, SlimItem } from "../../api/schema";
import type { Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";

export interface FoundItem extends SlimItem {
  /** Who had it. */
  provider: string;
}

export interface SearchState {
  phase: "idle" | "searching" | "done" | "stopped" | "failed";
  /** In the order asked for; while archives still answer, as far as it is known. */
  items: readonly FoundItem[];
  /** Of this page, by archive. */
  reports: ReadonlyMap<string, Omit<ReportLine, "type">>;
  /** Archives that are asked; null: not known. */
  asked: number | null;
  /** For the next page; empty: there is none. */
  next: string;
  complete: boolean;
  matched: number | null;
  problem: ApiProblem | null;
  /** What was asked; null: nothing yet. */
  question: Partial<SearchRequest> | null;
}

export const NO_SEARCH: SearchState = {
  phase: "idle",
  items: [],
  reports: new Map(),
  asked: null,
  next: "",
  complete: false,
  matched: null,
  problem: null,
  question: null,
};

type Line = ItemsLine | ReportLine | PageLine | ProblemLine;

const SHOW_EVERY = 120; // milliseconds

export class Search {
  readonly state: Store<SearchState> = createStore(NO_SEARCH);
  private control: AbortController | null = null;

  constructor(private readonly session: Session) {}

  /** Ask anew; what was found before goes when the first answer comes. */
  async start(question: Partial<SearchRequest>): Promise<void> {
    this.control?.abort();
    this.state.set({ ...NO_SEARCH, phase: "searching", question });
    await this.ask(question, "", []);
  }

  /** The page that follows. */
  async more(): Promise<void> {
    const { question, next, items, phase } = this.state.get();
    if (!question || !next || phase === "searching") return;
    this.state.set((before) => ({ ...before, phase: "searching", reports: new Map(), problem: null }));
    await this.ask(question, next, items);
  }

  /** Ask the same again from the start. */
  async again(): Promise<void> {
    const { question } = this.state.get();
    if (question) await this.start(question);
  }

  /** End what is under way; what came is kept. */
  stop(): void {
    this.control?.abort();
  }

  clear(): void {
    this.stop();
    this.state.set(NO_SEARCH);
  }

  private async ask(question: Partial<SearchRequest>, cursor: string, before: readonly FoundItem[]): Promise<void> {
    const control = new AbortController();
    this.control = control;
    void this.countAsked(question, control.signal);
    const sent: FoundItem[] = [];
    const reports = new Map<string, Omit<ReportLine, "type">>();
    let shown = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const showSoon = () => {
      timer ??= setTimeout(show, Math.max(0, shown + SHOW_EVERY - performance.now()));
    };
    const show = () => {
      timer = undefined;
      shown = performance.now();
      if (control.signal.aborted) return;
      const items = [...before, ...inOrder(sent, question)];
      this.state.set((state) => ({ ...state, items, reports: new Map(reports) }));
    };
    let finished = false;
    try {
      const response = await this.session.api.raw("catalog/search", {
        method: "POST",
        accept: "application/x-ndjson",
        body: { ...question, cursor },
        signal: control.signal,
      });
      for await (const line of linesOf<Line>(response)) {
        control.signal.throwIfAborted();
        if (line.type === "items") {
          for (const item of line.items) sent.push({ ...item, provider: line.provider });
          showSoon();
        } else if (line.type === "report") {
          const { type: _, ...report } = line;
          reports.set(report.id, report);
          showSoon();
        } else if (line.type === "problem") {
          throw new ApiProblem(line, 200);
        } else {
          finished = true;
          clearTimeout(timer);
          this.finish(line, before, sent);
        }
      }
      if (!finished) {
        throw new ApiProblem(
          { code: "broken_off", message: "The answer of your server broke off.", hint: "What came is shown. Search again for the rest.", retryable: true },
          200,
        );
      }
    } catch (thrown) {
      clearTimeout(timer);
      if (this.control !== control) return; // a newer search is shown
      const items = [...before, ...inOrder(sent, question)];
      if (isAbort(thrown) || control.signal.aborted) {
        this.state.set((state) => ({ ...state, phase: "stopped", items, reports: new Map(reports) }));
      } else {
        this.state.set((state) => ({ ...state, phase: "failed", items, reports: new Map(reports), problem: asProblem(thrown) }));
      }
    }
  }

  private finish(page: PageLine, before: readonly FoundItem[], sent: readonly FoundItem[]): void {
    const ordered = page.order.flatMap((position) => {
      const item = sent[position];
      return item ? [{ ...item, mirrors: page.mirrors[String(position)] ?? 0 }] : [];
    });
    this.state.set((state) => ({
      ...state,
      phase: "done",
      items: [...before, ...ordered],
      reports: new Map(page.providers.map((report) => [report.id, report])),
      asked: page.providers.length,
      next: page.next,
      complete: page.complete,
      matched: page.matched,
    }));
  }

  /** How many archives are asked, so that it can be said how many are still to answer. */
  private async countAsked(question: Partial<SearchRequest>, signal: AbortSignal): Promise<void> {
    if (question.providers?.length) {
      this.state.set((state) => ({ ...state, asked: question.providers?.length ?? null }));
      return;
    }
    try {
      const { providers } = await this.session.api.get("/catalog/providers", { signal });
      if (!signal.aborted) this.state.set((state) => (state.phase === "searching" ? { ...state, asked: providers.length } : state));
    } catch {
      // Then it is not said; the search itself tells what is wrong.
    }
  }
}

/** The order that can be known of items without their properties: by time, or by clouds. */
function inOrder(items: readonly FoundItem[], { sortby }: Partial<SearchRequest>): FoundItem[] {
  const key = sortby?.[0];
  const sign = key?.direction === "asc" ? 1 : -1;
  const value =
    key?.field === "eo:cloud_cover" ? (item: FoundItem) => item.cloud_cover ?? Infinity : (item: FoundItem) => item.datetime ?? "";
  return [...items].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x < y ? -sign : x > y ? sign : 0;
  });
}

export function searchOf(session: Session): Search {
  return session.part("catalogue:search", (made) => new Search(made));
}
