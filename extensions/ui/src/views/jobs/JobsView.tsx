import { useEffect } from "preact/hooks";
import { Button } from "../../design/controls";
import { Empty } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import type { ViewProps } from "../view";
import { JobDetail } from "./JobDetail";
import { JobList } from "./JobList";
import { NewJob } from "./NewJob";
import { jobsUi, newJob } from "./ui-state";

export function JobsView({ shown }: ViewProps) {
  const trans = useTranslation();
  const session = useSession();
  const ui = jobsUi(session);
  const open = useStore(ui.open);
  const making = useStore(ui.making);
  const inputs = useStore(session.jobInputs);
  useEffect(() => session.jobs.watch(), [session]);
  // What another view hands over is taken by a new job.
  useEffect(() => {
    if (inputs) ui.making.set(true);
  }, [inputs]);
  return (
    <div class={making || open ? "cs-jobs cs-jobs-open" : "cs-jobs"}>
      <div class="cs-jobs-side">
        <JobList shown={shown} />
      </div>
      <div class="cs-jobs-main">
        {making ? (
          <NewJob />
        ) : open ? (
          <JobDetail key={open} id={open} shown={shown} />
        ) : (
          <Empty
            icon="jobs"
            title={trans.__("No job is chosen")}
            actions={
              <Button icon="plus" onClick={() => newJob(session)}>
                {trans.__("New job")}
              </Button>
            }
          >
            {trans.__("Choose one in the list to see how far it is, its log and its results.")}
          </Empty>
        )}
      </div>
    </div>
  );
}
