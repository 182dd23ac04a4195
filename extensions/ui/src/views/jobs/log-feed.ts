/** The log of a job as it grows: asked for line by line, held by the server until there is one. */

import type { Api } from "../../api/client";
import { asProblem, isAbort, type ApiProblem } from "../../api/problem";
import type { LogLine } from "../../api/schema";
import { createStore, type Store } from "../../state/store";
import { readable } from "./readable";

export interface LogState {
  lines: readonly LogLine[];
  /** Lines that were dropped, as there are too many. */
  dropped: number;
  /** Whether what there is was read to its end. */
  known: boolean;
  problem: ApiProblem | null;
}

const PAGE = 2000;
const MOST = 20_000;
const WAIT = 20; // seconds
const AGAIN_AFTER = 3000;
const LONGEST_PAUSE = 60_000;

export class LogFeed {
  readonly state: Store<LogState> = createStore<LogState>({ lines: [], dropped: 0, known: false, problem: null });
  private next = 0;

  constructor(
    private readonly api: Api,
    private readonly job: string,
  ) {}

  /** Read on until the job has `ended` and everything is there, or the signal says so. */
  async follow(ended: () => boolean, signal: AbortSignal): Promise<void> {
    let failures = 0;
    while (!signal.aborted) {
      try {
        const over = ended();
        const { known } = this.state.get();
        const query = { after: this.next, limit: PAGE, wait: known && !over ? WAIT : 0 };
        const { logs, next } = await this.api.get("/jobs/{job_id}/logs", { path: { job_id: this.job }, query, signal });
        failures = 0;
        this.next = next;
        this.add(
          logs.map((line) => ({ ...line, message: readable(line.message) })),
          logs.length < PAGE,
        );
        if (over && logs.length < PAGE) return;
        // A server that holds nothing back is not asked without end.
        if (!logs.length && known) await pause(1000, signal);
      } catch (thrown) {
        if (isAbort(thrown) || signal.aborted) return;
        this.state.set((before) => ({ ...before, problem: asProblem(thrown) }));
        await pause(Math.min(AGAIN_AFTER * 2 ** failures++, LONGEST_PAUSE), signal);
      }
    }
  }

  private add(logs: readonly LogLine[], known: boolean): void {
    this.state.set((before) => {
      if (!logs.length && before.known === (before.known || known) && !before.problem) return before;
      const lines = logs.length ? [...before.lines, ...logs] : before.lines;
      const over = Math.max(0, lines.length - MOST);
      return { lines: over ? lines.slice(over) : lines, dropped: before.dropped + over, known: before.known || known, problem: null };
    });
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      done();
    });
  });
}
