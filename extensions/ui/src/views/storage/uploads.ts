/**
 * Uploads from this browser, piece by piece. The store keeps what has arrived, so one goes on after
 * the connection was lost, and after a reload when the same file is chosen again.
 */

import { filled } from "../../api/client";
import { ApiProblem, asProblem, isAbort } from "../../api/problem";
import type { UploadState } from "../../api/schema";
import { isText, type Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";
import type { Chosen } from "./dropped";
import { usageOf } from "./usage";

/** `exists`: there is an object of that name; `without-file`: the page was loaded anew. */
export type UploadPhase = "waiting" | "sending" | "paused" | "failed" | "exists" | "without-file" | "done";

export interface UploadEntry {
  /** Ours, in this page. */
  id: string;
  /** The server's; empty before it has begun. */
  upload: string;
  bucket: string;
  key: string;
  size: number;
  modified: number;
  sent: number;
  replace: boolean;
  phase: UploadPhase;
  problem: ApiProblem | null;
}

type Kept = Pick<UploadEntry, "upload" | "bucket" | "key" | "size" | "modified" | "sent">;

const AT_ONCE = 2;
const TRIES = 5;
const QUICK = 2_000;

function isKept(value: unknown): value is Kept[] {
  return (
    Array.isArray(value) &&
    value.every(
      ({ upload, bucket, key, size, modified, sent }: Partial<Kept>) =>
        isText(upload) && isText(bucket) && isText(key) && [size, modified, sent].every(Number.isFinite),
    )
  );
}

export class Uploads {
  readonly list: Store<readonly UploadEntry[]>;
  /** Counts the uploads that have ended well: folders look again. */
  readonly arrived = createStore(0);
  private readonly kept: Store<Kept[]>;
  private readonly files = new Map<string, File>();
  private readonly controls = new Map<string, AbortController>();

  /** @param pause how long is waited before the first new try, in milliseconds. */
  constructor(
    private readonly session: Session,
    private readonly pauseBefore = 1_000,
  ) {
    this.kept = session.memory.store<Kept[]>("storage:uploads", [], isKept);
    this.list = createStore<readonly UploadEntry[]>(
      this.kept.get().map((each) => ({ ...each, id: crypto.randomUUID(), replace: true, phase: "without-file", problem: null })),
    );
    this.list.subscribe(() =>
      this.kept.set(
        this.list
          .get()
          .filter(({ upload, phase }) => upload && phase !== "done")
          .map(({ upload, bucket, key, size, modified, sent }) => ({ upload, bucket, key, size, modified, sent })),
      ),
    );
  }

  underWay(): number {
    return this.list.get().filter(({ phase }) => phase !== "done").length;
  }

  add(bucket: string, prefix: string, chosen: readonly Chosen[]): void {
    const added = chosen.map(({ path, file }): UploadEntry => {
      const id = crypto.randomUUID();
      this.files.set(id, file);
      const [size, modified] = [file.size, file.lastModified];
      return { id, upload: "", bucket, key: prefix + path, size, modified, sent: 0, replace: false, phase: "waiting", problem: null };
    });
    this.list.set((before) => [...before, ...added]);
    this.next();
  }

  pause(id: string): void {
    this.change(id, { phase: "paused" });
    this.controls.get(id)?.abort();
  }

  /** Go on, or try again; `replace` takes the place of what is there. */
  resume(id: string, replace?: true): void {
    this.change(id, { phase: "waiting", problem: null, ...(replace && { replace }) });
    this.next();
  }

  /** The file of an upload that lost it; false: it is another one. */
  choose(id: string, file: File): boolean {
    const entry = this.entry(id);
    if (!entry || entry.size !== file.size || entry.modified !== file.lastModified) return false;
    this.files.set(id, file);
    this.resume(id);
    return true;
  }

  /** Give it up, and throw away what has arrived; one that is done only leaves the list. */
  remove(id: string): void {
    const entry = this.entry(id);
    this.list.set((before) => before.filter((each) => each.id !== id));
    this.files.delete(id);
    this.controls.get(id)?.abort();
    if (!entry?.upload || entry.phase === "done") return;
    // Where this fails, the operator's rule for old uploads remains.
    this.session.api.delete("/storage/uploads/{upload}", { path: { upload: entry.upload } }).catch(() => undefined);
  }

  /** Take those that are done from the list. */
  tidy(): void {
    this.list.set((before) => before.filter(({ phase }) => phase !== "done"));
  }

  private entry(id: string): UploadEntry | undefined {
    return this.list.get().find((each) => each.id === id);
  }

  private change(id: string, changes: Partial<UploadEntry>): void {
    this.list.set((before) => before.map((each) => (each.id === id ? { ...each, ...changes } : each)));
  }

  private next(): void {
    for (const { id, phase } of this.list.get()) {
      if (this.controls.size >= AT_ONCE) return;
      // One that was paused a moment ago may still be on its way out.
      if (phase === "waiting" && !this.controls.has(id)) void this.run(id);
    }
  }

  private async run(id: string): Promise<void> {
    const [entry, file, control] = [this.entry(id), this.files.get(id), new AbortController()];
    if (!entry || !file) return;
    this.controls.set(id, control);
    this.change(id, { phase: "sending" });
    try {
      await this.send(entry, file, control.signal);
      this.change(id, { phase: "done", sent: entry.size });
      this.files.delete(id);
      usageOf(this.session).forget(entry.bucket, entry.key);
      this.arrived.set((count) => count + 1);
    } catch (thrown) {
      if (!control.signal.aborted || !isAbort(thrown)) {
        const problem = asProblem(thrown);
        const exists = problem.status === 409 && !this.entry(id)?.upload;
        this.change(id, exists ? { phase: "exists" } : { phase: "failed", problem });
      }
    } finally {
      this.controls.delete(id);
      this.next();
    }
  }

  private async send(entry: UploadEntry, file: File, signal: AbortSignal): Promise<void> {
    const { api } = this.session;
    let state = await this.begun(entry, signal);
    this.change(entry.id, { upload: state.id, sent: state.received });
    const path = { upload: state.id };
    let size = state.smallest_part;
    let failures = 0;
    while (state.received < entry.size) {
      const begun = Date.now();
      try {
        const body = await piece(file, state.received, state.received + size);
        const query = { at: state.received };
        const headers = { "Content-Type": "application/octet-stream" };
        const response = await api.raw(filled("/storage/uploads/{upload}", path), { method: "PUT", query, headers, body, signal });
        state = (await response.json()) as UploadState;
        failures = 0;
        // Large pieces where they go quickly, small ones where progress would not be seen.
        size = Date.now() - begun < QUICK ? Math.min(2 * size, state.largest_part) : state.smallest_part;
      } catch (thrown) {
        if (isAbort(thrown) || !asProblem(thrown).retryable || ++failures >= TRIES) throw thrown;
        await pause(this.pauseBefore * 2 ** (failures - 1), signal);
        // What did arrive is not sent again.
        state = await api.get("/storage/uploads/{upload}", { path, signal }).catch((again: unknown) => {
          if (isAbort(again) || !asProblem(again).retryable) throw again;
          return state;
        });
      }
      this.change(entry.id, { sent: state.received });
    }
    await api.post("/storage/uploads/{upload}/complete", { path, signal });
  }

  /** A new upload, or the one that was begun, if the store still knows it. */
  private async begun({ upload, bucket, key, size, replace, id }: UploadEntry, signal: AbortSignal): Promise<UploadState> {
    const { api } = this.session;
    if (upload) {
      try {
        return await api.get("/storage/uploads/{upload}", { path: { upload }, signal });
      } catch (thrown) {
        if (asProblem(thrown).status !== 404) throw thrown;
        this.change(id, { upload: "", sent: 0 });
      }
    }
    const content_type = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+$/.exec(this.files.get(id)?.type ?? "")?.[0] ?? "application/octet-stream";
    return api.post("/storage/uploads", { body: { bucket, key, size, content_type, replace }, signal });
  }
}

/** Bytes of a file, read now: a file that was changed or taken away is told, and not sent in part. */
async function piece(file: File, from: number, to: number): Promise<Blob> {
  try {
    return new Blob([await file.slice(from, to).arrayBuffer()]);
  } catch {
    throw new ApiProblem(
      {
        code: "file_unreadable",
        message: "The file can no longer be read from this computer.",
        hint: "It was changed, moved or taken away. What has arrived is kept: give the upload up and choose the file again.",
      },
      0,
    );
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((done, failed) => {
    const stop = () => {
      clearTimeout(timer);
      failed(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      done();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

export function uploadsOf(session: Session): Uploads {
  return session.part("storage:uploads", (made) => new Uploads(made));
}
