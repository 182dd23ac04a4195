/**
 * The list of jobs, as fresh as events and polls make it. One for all panels of a page.
 *
 * Events only say that something changed: what it is now is asked for with `?since=`, for all
 * changes of a moment at once. Where no event comes, a poll asks, seldom while nobody looks.
 */

import type { Api } from "../api/client";
import { asProblem, type ApiProblem } from "../api/problem";
import type { JobSummary } from "../api/schema";
import type { Transport } from "../transport/transport";
import { createStore, type Store } from "./store";

const GATHER = 100;
const POLL = 30_000;
const POLL_AFTER_FAILURE = 5_000;
const LONGEST_POLL = 60_000;

export interface JobsState {
  /** The newest first. */
  jobs: JobSummary[];
  /** Whether the list was read at least once. */
  known: boolean;
  /** Why it could not be read the last time. */
  problem: ApiProblem | null;
}

export class JobsFeed {
  readonly state: Store<JobsState> = createStore<JobsState>({ jobs: [], known: false, problem: null });
  private readonly byId = new Map<string, JobSummary>();
  private revision = 0;
  private users = 0;
  private stopListening: (() => void) | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asking: Promise<void> | null = null;
  private again = false;
  private failures = 0;

  constructor(
    private readonly api: Api,
    private readonly transport: Transport,
  ) {}

  /** Keep the list fresh until what is returned is called. */
  watch(): () => void {
    if (this.users++ === 0) {
      this.stopListening = this.transport.listen(
        () => this.soon(GATHER),
        () => this.soon(0),
      );
      document.addEventListener("visibilitychange", this.seen);
      this.soon(0);
    }
    let watching = true;
    return () => {
      if (!watching) return;
      watching = false;
      if (--this.users === 0) {
        this.stopListening?.();
        clearTimeout(this.timer);
        document.removeEventListener("visibilitychange", this.seen);
      }
    };
  }

  /** Ask for what changed; done when the answer is in the list. */
  async refresh(): Promise<void> {
    if (this.asking) {
      this.again = true;
      return this.asking;
    }
    this.asking = this.ask();
    try {
      await this.asking;
    } finally {
      this.asking = null;
      const wait = this.failures ? Math.min(POLL_AFTER_FAILURE * 2 ** (this.failures - 1), LONGEST_POLL) : POLL;
      if (this.users) this.soon(this.again ? GATHER : wait);
      this.again = false;
    }
  }

  private readonly seen = () => {
    if (document.visibilityState === "visible") this.soon(0);
  };

  private soon(wait: number): void {
    if (this.asking && wait <= GATHER) {
      this.again = true;
      return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      // A tab that nobody looks at waits for an event, or for being looked at.
      if (wait <= GATHER || document.visibilityState === "visible") void this.refresh();
      else this.soon(wait);
    }, wait);
  }

  private async ask(): Promise<void> {
    try {
      const answer = await this.api.get("/jobs", { query: { since: this.revision } });
      this.failures = 0;
      if (answer.whole) this.byId.clear();
      for (const job of answer.jobs) this.byId.set(job.id, job);
      for (const id of answer.deleted) this.byId.delete(id);
      const changed = answer.whole || answer.jobs.length > 0 || answer.deleted.length > 0;
      this.revision = answer.revision;
      const before = this.state.get();
      if (!changed && before.known && !before.problem) return;
      const jobs = changed
        ? [...this.byId.values()].sort((a, b) => (a.created < b.created ? 1 : a.created > b.created ? -1 : 0))
        : before.jobs;
      this.state.set({ jobs, known: true, problem: null });
    } catch (thrown) {
      this.failures += 1;
      this.state.set((before) => ({ ...before, problem: asProblem(thrown) }));
    }
  }
}
