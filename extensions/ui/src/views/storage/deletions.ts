/**
 * Folders that are being deleted: the server tells how far it is, and goes on as long as this page
 * listens. One that a reload broke off is there again, to go on with.
 */

import { linesOf } from "../../api/client";
import { ApiProblem, asProblem, isAbort } from "../../api/problem";
import type { DeletedLine, DeletionLine, KeptObject } from "../../api/schema";
import { isText, type Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";
import { usageOf } from "./usage";

/** `kept`: some of it could not be deleted; `broken-off`: the page was loaded anew. */
export type DeletionPhase = "deleting" | "stopped" | "failed" | "kept" | "broken-off" | "done";

export interface DeletionEntry {
  /** Ours, in this page. */
  id: string;
  bucket: string;
  prefix: string;
  /** Found so far, those that are gone among them. */
  objects: number;
  deleted: number;
  /** Whether all was found: then it is known how far it is. */
  known: boolean;
  phase: DeletionPhase;
  /** Some of what was kept, and why. */
  refused: readonly KeptObject[];
  problem: ApiProblem | null;
}

type Kept = Pick<DeletionEntry, "bucket" | "prefix" | "objects" | "deleted">;

function isKept(value: unknown): value is Kept[] {
  return (
    Array.isArray(value) &&
    value.every(({ bucket, prefix, objects, deleted }: Partial<Kept>) => isText(bucket) && isText(prefix) && [objects, deleted].every(Number.isFinite))
  );
}

export class Deletions {
  readonly list: Store<readonly DeletionEntry[]>;
  /** Counts the deletions that have ended in any way: folders look again. */
  readonly ended = createStore(0);
  private readonly kept: Store<Kept[]>;
  private readonly controls = new Map<string, AbortController>();

  constructor(private readonly session: Session) {
    this.kept = session.memory.store<Kept[]>("storage:deletions", [], isKept);
    this.list = createStore<readonly DeletionEntry[]>(
      this.kept.get().map((each) => ({ ...each, id: crypto.randomUUID(), known: true, phase: "broken-off", refused: [], problem: null })),
    );
    this.list.subscribe(() =>
      this.kept.set(
        this.list
          .get()
          .filter(({ phase }) => phase === "deleting" || phase === "broken-off")
          .map(({ bucket, prefix, objects, deleted }) => ({ bucket, prefix, objects, deleted })),
      ),
    );
  }

  begin(bucket: string, prefix: string): void {
    const id = crypto.randomUUID();
    const entry: DeletionEntry = { id, bucket, prefix, objects: 0, deleted: 0, known: false, phase: "deleting", refused: [], problem: null };
    this.list.set((before) => [...before, entry]);
    void this.run(entry);
  }

  /** Go on with what is left. */
  again(id: string): void {
    const entry = this.list.get().find((each) => each.id === id);
    if (!entry || this.controls.has(id)) return;
    this.change(id, { phase: "deleting", objects: 0, deleted: 0, known: false, refused: [], problem: null });
    void this.run(entry);
  }

  stop(id: string): void {
    this.controls.get(id)?.abort();
  }

  /** Take one that is not under way from the list. */
  remove(id: string): void {
    if (!this.controls.has(id)) this.list.set((before) => before.filter((each) => each.id !== id));
  }

  private change(id: string, changes: Partial<DeletionEntry>): void {
    this.list.set((before) => before.map((each) => (each.id === id ? { ...each, ...changes } : each)));
  }

  private async run({ id, bucket, prefix }: DeletionEntry): Promise<void> {
    const control = new AbortController();
    this.controls.set(id, control);
    try {
      // One request deletes only so many, so it is asked as long as that leads on.
      for (let before = 0; ; ) {
        const last = await this.some(id, bucket, prefix, before, control.signal);
        before += last.deleted;
        if (last.deleted === last.objects && last.more) continue;
        this.change(id, { phase: last.deleted < last.objects ? "kept" : "done", refused: last.refused });
        break;
      }
    } catch (thrown) {
      this.change(id, isAbort(thrown) ? { phase: "stopped" } : { phase: "failed", problem: asProblem(thrown) });
    } finally {
      this.controls.delete(id);
      usageOf(this.session).forget(bucket, prefix);
      this.ended.set((count) => count + 1);
    }
  }

  /** @param before how many earlier requests have deleted. */
  private async some(id: string, bucket: string, prefix: string, before: number, signal: AbortSignal): Promise<DeletedLine> {
    const response = await this.session.api.raw("storage/folders", { method: "DELETE", query: { bucket, prefix }, signal });
    for await (const line of linesOf<DeletionLine>(response)) {
      if (line.type === "problem") throw new ApiProblem(line, 200);
      this.change(id, { objects: before + line.objects, deleted: before + line.deleted, known: line.deleted > 0 && !line.more });
      if (line.type === "deleted") return line;
    }
    throw new ApiProblem(
      { code: "broken_off", message: "The connection ended before all was deleted.", hint: "What was not deleted is kept: go on with it.", retryable: true },
      0,
    );
  }
}

export function deletionsOf(session: Session): Deletions {
  return session.part("storage:deletions", (made) => new Deletions(made));
}
