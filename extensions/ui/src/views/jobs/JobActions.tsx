/** The buttons of a job: what its server would accept now. */

import { useState } from "preact/hooks";
import type { JobSummary } from "../../api/schema";
import { Button } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Menu, type MenuItem } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { useSession } from "../../state/hooks";
import { act, change, insertCode, publish, retry, stageResults } from "./actions";
import { CloneDialog } from "./CloneDialog";
import { isFailed } from "./listing";
import { jobsUi } from "./ui-state";
import { titleOf } from "./words";

export function JobActions({ job }: { job: JobSummary }) {
  const trans = useTranslation();
  const session = useSession();
  const [asking, setAsking] = useState<"cancel" | "delete" | "clone" | null>(null);
  const [busy, setBusy] = useState(false);
  const may = (action: JobSummary["actions"][number]) => job.actions.includes(action);
  const during = (work: () => Promise<unknown>) => {
    setBusy(true);
    void work().finally(() => setBusy(false));
  };
  const remove = async () => {
    setAsking(null);
    const gone = await act(session, async () => {
      await session.api.delete("/jobs/{job_id}", { path: { job_id: job.id } });
      return true;
    });
    if (gone) jobsUi(session).open.set("");
  };
  const results = job.status === "finished" && job.result_count > 0;
  const more: MenuItem[] = [
    ...(results && job.spec.engine !== "staging"
      ? [{ label: trans.__("Copy results to the community's bucket"), icon: "stage" as const, run: () => during(() => stageResults(session, trans, job)) }]
      : []),
    ...(may("publish") ? [{ label: trans.__("Register and share in the catalogue"), icon: "share" as const, run: () => during(() => publish(session, trans, job)) }] : []),
    ...(results ? [{ label: trans.__("Code that opens the results"), icon: "code" as const, run: () => during(() => insertCode(session, trans, job, "results")) }] : []),
    { label: trans.__("Code that made this"), icon: "code", run: () => during(() => insertCode(session, trans, job, "submit")) },
    ...(may("delete") ? [{ label: trans.__("Delete…"), icon: "bin" as const, apart: true, run: () => setAsking("delete") }] : []),
  ];
  return (
    <div class="cs-actions">
      {may("pause") && (
        <Button icon="pause" disabled={busy} onClick={() => during(() => change(session, job, "pause"))}>
          {trans.__("Pause")}
        </Button>
      )}
      {may("resume") && (
        <Button icon="play" kind="primary" disabled={busy} onClick={() => during(() => change(session, job, "resume"))}>
          {trans.__("Go on")}
        </Button>
      )}
      {may("cancel") && (
        <Button icon="close" disabled={busy} onClick={() => setAsking("cancel")}>
          {trans.__("Cancel")}
        </Button>
      )}
      {may("clone") && (isFailed(job) || job.status === "canceled") && (
        <Button icon="refresh" disabled={busy} onClick={() => during(() => retry(session, trans, job, false))}>
          {trans.__("Retry as a new job")}
        </Button>
      )}
      {may("clone") && (
        <Button icon="copy" disabled={busy} onClick={() => setAsking("clone")}>
          {trans.__("Clone and change…")}
        </Button>
      )}
      <Menu label={trans.__("More with this job")} icon="more" compact items={more} disabled={busy} />
      {asking === "cancel" && (
        <Dialog
          title={trans.__("Cancel this job?")}
          onClose={() => setAsking(null)}
          actions={
            <>
              <Button onClick={() => setAsking(null)}>{trans.__("Let it run")}</Button>
              <Button
                kind="danger"
                onClick={() => {
                  setAsking(null);
                  during(() => change(session, job, "cancel"));
                }}
              >
                {trans.__("Cancel the job")}
              </Button>
            </>
          }
        >
          <p>{trans.__("%1 stops, and what it has computed so far may be lost. Its log is kept.", titleOf(job, trans))}</p>
        </Dialog>
      )}
      {asking === "delete" && (
        <Dialog
          title={trans.__("Delete this job?")}
          onClose={() => setAsking(null)}
          actions={
            <>
              <Button onClick={() => setAsking(null)}>{trans.__("Keep it")}</Button>
              <Button kind="danger" icon="bin" onClick={() => during(remove)}>
                {trans.__("Delete the job")}
              </Button>
            </>
          }
        >
          <p>{trans.__("%1 goes from the list, with its log. Files that it wrote stay in the bucket.", titleOf(job, trans))}</p>
        </Dialog>
      )}
      {asking === "clone" && <CloneDialog job={job} onClose={() => setAsking(null)} />}
    </div>
  );
}
