/** One job: how it is, its log, its results, what was asked for. */

import { useEffect } from "preact/hooks";
import { IconButton } from "../../design/controls";
import { Badge, Empty, ProblemNote, Waiting } from "../../design/feedback";
import { usePageId } from "../../design/page-id";
import { Tabs } from "../../design/tabs";
import { useTranslation } from "../../i18n";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { JobActions } from "./JobActions";
import { LogPane } from "./LogPane";
import { Overview } from "./Overview";
import { RequestPane } from "./RequestPane";
import { ResultsPane } from "./ResultsPane";
import { jobsUi } from "./ui-state";
import { engineName, statusWord, titleOf, TONES } from "./words";

const PARTS = ["overview", "log", "results", "request"] as const;

export function JobDetail({ id, shown }: { id: string; shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const ui = jobsUi(session);
  const prefix = usePageId();
  const chosen = useStore(ui.part);
  const part = PARTS.find((name) => name === chosen) ?? "overview";
  const known = useStore(session.jobs.state, (state) => state.known);
  const job = useStore(session.jobs.state, ({ jobs }) => jobs.find((each) => each.id === id));
  const whole = useAsked([id, job?.revision, !!job], job ? (signal) => session.api.get("/jobs/{job_id}", { path: { job_id: id }, signal }) : null);
  const ended = job?.ended ?? null;
  // Whoever looks at an ended job has seen its notice.
  useEffect(() => {
    if (ended) session.api.post("/notices/seen", { body: { jobs: [id] } }).catch(() => undefined);
  }, [id, ended]);
  if (!job) {
    return known ? (
      <Empty icon="jobs" title={trans.__("This job is not in the list any more")}>
        {trans.__("It was deleted. Files that it wrote are still in the bucket.")}
      </Empty>
    ) : (
      <Waiting>{trans.__("Reading the job…")}</Waiting>
    );
  }
  return (
    <article class="cs-job" aria-label={titleOf(job, trans)}>
      <header class="cs-job-head">
        <div class="cs-job-title">
          <IconButton icon="left" label={trans.__("Back to the list")} class="cs-job-back" onClick={() => ui.open.set("")} />
          <h2 class="cs-cut">{titleOf(job, trans)}</h2>
          <Badge tone={TONES[job.status]}>{statusWord(job.status, trans)}</Badge>
          <span class="cs-hint">{engineName(job.spec.engine, trans)}</span>
        </div>
        <JobActions job={job} />
      </header>
      <Tabs
        label={trans.__("Parts of the job")}
        kind="small"
        prefix={prefix}
        chosen={part}
        onChoose={(name) => ui.part.set(name)}
        tabs={[
          { id: "overview", label: trans.__("Overview") },
          { id: "log", label: trans.__("Log") },
          { id: "results", label: trans.__("Results"), badge: job.result_count || undefined },
          { id: "request", label: trans.__("Request") },
        ]}
      />
      {PARTS.map((name) => (
        <div key={name} role="tabpanel" id={`${prefix}-panel-${name}`} aria-labelledby={`${prefix}-tab-${name}`} hidden={name !== part} class="cs-job-part">
          {name === part &&
            (name === "overview" ? (
              <Overview job={job} shown={shown} />
            ) : name === "log" ? (
              <LogPane job={job} />
            ) : name === "results" ? (
              <ResultsPane job={job} shown={shown} />
            ) : whole.value ? (
              <RequestPane job={whole.value} />
            ) : whole.problem ? (
              <div class="cs-pad">
                <ProblemNote problem={whole.problem} retry={whole.retry} />
              </div>
            ) : (
              <Waiting>{trans.__("Reading the job…")}</Waiting>
            ))}
        </div>
      ))}
    </article>
  );
}
