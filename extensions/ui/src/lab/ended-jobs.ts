/** Tells of jobs that have ended, whether or not a panel or a notebook is open. */

import { Notification } from "@jupyterlab/apputils";
import type { Notice } from "../api/schema";
import type { Translation } from "../i18n";
import { watchEndedJobs } from "../state/ended-jobs";
import type { Transport } from "../transport/transport";

const LONGEST = 300; // characters of a notification
const MOST = 3; // notifications at once

function words({ status, title, job, message, hint, results }: Notice, trans: Translation): string {
  const name = title.slice(0, 120) || job;
  switch (status) {
    case "finished":
      return trans._n("%2 has finished: %1 result.", "%2 has finished: %1 results.", results, name);
    case "lost":
      return trans.__("%1 is lost: its back end does not know it any more.", name);
    default:
      return trans.__("%1 has failed. %2", name, `${message} ${hint}`.trim());
  }
}

/** Listen, and say it once for each job; `open` shows a job, or the list for none. */
export function tellEndedJobs(transport: Transport, trans: Translation, open: (job: string) => void): () => void {
  return watchEndedJobs(transport, (notices) => {
    for (const notice of notices.slice(0, MOST)) {
      const good = notice.status === "finished";
      Notification.emit(words(notice, trans).slice(0, LONGEST), good ? "success" : "error", {
        autoClose: good ? 10_000 : false,
        actions: [{ label: trans.__("Show the job"), callback: () => open(notice.job) }],
      });
    }
    if (notices.length > MOST) {
      Notification.emit(trans._n("%1 more job has ended.", "%1 more jobs have ended.", notices.length - MOST), "info", {
        autoClose: 10_000,
        actions: [{ label: trans.__("Show jobs"), callback: () => open("") }],
      });
    }
  });
}
