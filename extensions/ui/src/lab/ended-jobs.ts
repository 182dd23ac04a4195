/** Tells of jobs that have ended, whether or not a panel or a notebook is open. */

import { Notification } from "@jupyterlab/apputils";
import { apiOf } from "../api/client";
import type { Translation } from "../i18n";
import type { JobEvent, Transport } from "../transport/transport";

const KINDS = { finished: "success", error: "error", lost: "error" } as const;

function words(status: keyof typeof KINDS, title: string, trans: Translation): string {
  switch (status) {
    case "finished":
      return trans.__("%1 has finished.", title);
    case "error":
      return trans.__("%1 has failed.", title);
    case "lost":
      return trans.__("%1 is lost: its back end does not know it any more.", title);
  }
}

/** Listen, and say it once for each job; `open` shows the list of jobs. */
export function tellEndedJobs(transport: Transport, trans: Translation, open: () => void): () => void {
  const api = apiOf(transport);
  const told = new Set<string>();
  const tell = async ({ id, status }: JobEvent) => {
    if (!(status in KINDS) || told.has(id)) return;
    told.add(id);
    const kind = status as keyof typeof KINDS;
    let title: string;
    try {
      title = (await api.get("/jobs/{job_id}", { path: { job_id: id } })).spec.title || id;
    } catch {
      return; // deleted meanwhile, or the server is gone: there is nothing to look at
    }
    Notification.emit(words(kind, title.slice(0, 120), trans), KINDS[kind], {
      autoClose: kind === "finished" ? 10_000 : false,
      actions: [{ label: trans.__("Show jobs"), callback: open }],
    });
  };
  return transport.listen(
    (event) => void tell(event),
    () => undefined,
  );
}
