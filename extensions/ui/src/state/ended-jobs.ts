/** Jobs that have ended and that nobody was told of, also those that ended while nobody was there. */

import { apiOf } from "../api/client";
import type { Notice } from "../api/schema";
import type { Transport } from "../transport/transport";

const ENDED = new Set(["finished", "error", "lost"]);
/** Milliseconds: the notice of a job is written beside the event of its end. */
const LOOKS = [400, 3_000];

/** Hand over notices that nobody has seen, each once; they are seen then. Returns how to stop. */
export function watchEndedJobs(transport: Transport, tell: (notices: readonly Notice[]) => void): () => void {
  const api = apiOf(transport);
  const told = new Set<string>();
  const timers = new Set<ReturnType<typeof setTimeout>>();
  let asking: Promise<void> = Promise.resolve();
  const look = async () => {
    try {
      const { notices } = await api.get("/notices", { query: { unseen: true } });
      const fresh = notices.filter(({ job }) => !told.has(job));
      if (!fresh.length) return;
      for (const { job } of fresh) told.add(job);
      tell(fresh);
      await api.post("/notices/seen", { body: { jobs: fresh.map(({ job }) => job) } });
    } catch {
      // They are kept: the next event or the next visit tells of them.
    }
  };
  const soon = (wait: number) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      asking = asking.then(look);
    }, wait);
    timers.add(timer);
  };
  const stop = transport.listen(
    ({ id, status }) => {
      if (ENDED.has(status) && !told.has(id)) for (const wait of LOOKS) soon(wait);
    },
    () => soon(0),
  );
  soon(0);
  return () => {
    stop();
    for (const timer of timers) clearTimeout(timer);
  };
}
