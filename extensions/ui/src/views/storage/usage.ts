/** How much lies below a prefix: counted on demand, shown while it is counted, kept as long as the page. */

import { linesOf } from "../../api/client";
import { ApiProblem, asProblem, isAbort } from "../../api/problem";
import type { StorageLine, UsageLine } from "../../api/schema";
import type { Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";

export interface Count {
  objects: number;
  size: number;
  /** The whole answer; null while it is counted, and where counting ended early. */
  whole: UsageLine | null;
  counting: boolean;
  problem: ApiProblem | null;
}

const NONE: Count = { objects: 0, size: 0, whole: null, counting: true, problem: null };

export class Usage {
  readonly counts: Store<Readonly<Record<string, Count>>> = createStore<Readonly<Record<string, Count>>>({});
  private readonly controls = new Map<string, AbortController>();

  constructor(private readonly session: Session) {}

  async count(bucket: string, prefix: string): Promise<void> {
    const name = placeKey(bucket, prefix);
    if (this.controls.has(name)) return;
    const control = new AbortController();
    this.controls.set(name, control);
    this.change(name, () => NONE);
    try {
      const response = await this.session.api.raw("storage/usage", { query: { bucket, prefix }, signal: control.signal });
      for await (const line of linesOf<StorageLine>(response)) {
        if (line.type === "problem") throw new ApiProblem(line, 200);
        this.change(name, (before) => ({ ...before, objects: line.objects, size: line.size, whole: line.type === "usage" ? line : null }));
      }
    } catch (thrown) {
      if (!isAbort(thrown)) this.change(name, (before) => ({ ...before, problem: asProblem(thrown) }));
    } finally {
      this.controls.delete(name);
      this.change(name, (before) => ({ ...before, counting: false }));
    }
  }

  stop(bucket: string, prefix: string): void {
    this.controls.get(placeKey(bucket, prefix))?.abort();
  }

  /** What is there has changed below a prefix: counts that have it in them are no longer true. */
  forget(bucket: string, prefix: string): void {
    const changed = placeKey(bucket, prefix);
    this.counts.set((all) => Object.fromEntries(Object.entries(all).filter(([name, { counting }]) => counting || !changed.startsWith(name))));
  }

  private change(name: string, make: (before: Count) => Count): void {
    this.counts.set((all) => ({ ...all, [name]: make(all[name] ?? NONE) }));
  }
}

export function placeKey(bucket: string, prefix: string): string {
  return `${bucket}/${prefix}`;
}

export function usageOf(session: Session): Usage {
  return session.part("storage:usage", (made) => new Usage(made));
}
