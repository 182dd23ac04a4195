/** How a job is: in words, in times, in figures. */

import type { ComponentChildren } from "preact";
import type { JobSummary } from "../../api/schema";
import { Button } from "../../design/controls";
import { Note, Progress } from "../../design/feedback";
import { bytes, moment } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { honest } from "./JobList";
import { isFailed, isOpen } from "./listing";
import { useNow } from "./now";
import { retry } from "./actions";
import { placesOf } from "./places";
import { SparkFigures } from "./SparkFigures";
import { jobsUi, openJob } from "./ui-state";
import { usageOf } from "./usage";
import { duration, placeOf, statusSentence, statusWord, timesOf } from "./words";

export function Overview({ job, shown }: { job: JobSummary; shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const places = useStore(placesOf(session));
  const under = isOpen(job);
  const now = useNow(shown && under);
  const { waited, ran } = timesOf(job, now);
  const { error, transferred } = job;
  const progress = honest(job.progress);
  const left = remaining(progress, ran);
  const suggested = error?.details?.["job_options"];
  const hasSuggestion = typeof suggested === "object" && suggested !== null;
  return (
    <div class="cs-job-body">
      {isFailed(job) ? (
        <Note
          tone="error"
          title={statusSentence(job, places, trans)}
          actions={
            <>
              {hasSuggestion && job.actions.includes("clone") && (
                <Button kind="primary" icon="refresh" onClick={() => void retry(session, trans, job, true)}>
                  {trans.__("Try again with %1", optionsText(suggested))}
                </Button>
              )}
              <Button onClick={() => jobsUi(session).part.set("log")}>{trans.__("Look into the log")}</Button>
            </>
          }
        >
          {error?.hint}
        </Note>
      ) : (
        <p class="cs-job-sentence" role="status">
          {statusSentence(job, places, trans)}
        </p>
      )}
      {job.status === "finished" && job.result_count > 0 && (
        <div class="cs-actions">
          <Button kind="primary" icon="layers" onClick={() => jobsUi(session).part.set("results")}>
            {trans.__("See the results")}
          </Button>
        </div>
      )}
      {job.status === "running" && (
        <div class="cs-job-progress">
          <Progress label={trans.__("Progress")} value={progress} />
          <span class="cs-hint">
            {progress === null ? trans.__("It does not say how far it is.") : trans.__("%1 %", Math.round(progress * 100))}
            {left !== null && ` · ${trans.__("about %1 left at this pace", duration(left, trans))}`}
          </span>
        </div>
      )}
      {transferred && (
        <p>
          {trans.__("%1 of %2 files", transferred.files_done, transferred.files_total)} · {bytes(transferred.bytes_done)}
          {transferred.bytes_total !== null && ` ${trans.__("of %1", bytes(transferred.bytes_total))}`}
        </p>
      )}
      {job.spec.engine === "spark" && <SparkFigures job={job} />}
      <dl class="cs-facts">
        <Fact name={trans.__("Runs on")}>{placeOf(job, places, trans)}</Fact>
        {job.spec.vo && <Fact name={trans.__("For")}>{job.spec.vo}</Fact>}
        <Fact name={trans.__("Waited")}>{waited === null ? trans.__("not at all") : duration(waited, trans)}</Fact>
        {ran !== null && <Fact name={under ? trans.__("Running for") : trans.__("Ran")}>{duration(ran, trans)}</Fact>}
        <Fact name={trans.__("Submitted")}>{moment(job.created)}</Fact>
        {job.started && <Fact name={trans.__("Started")}>{moment(job.started)}</Fact>}
        {job.ended && <Fact name={trans.__("Ended")}>{moment(job.ended)}</Fact>}
        {job.costs !== null && <Fact name={trans.__("Costs")}>{trans.__("%1 credits", job.costs)}</Fact>}
        {usageOf(job, trans).map(([name, text]) => (
          <Fact key={name} name={name}>
            {text}
          </Fact>
        ))}
        {job.engine_id && (
          <Fact name={trans.__("Its id there")}>
            <span class="cs-mono">{job.engine_id}</span>
          </Fact>
        )}
        <Fact name={trans.__("Its id in this list")}>
          <span class="cs-mono">{job.id}</span>
        </Fact>
        {job.cloned_from && (
          <Fact name={trans.__("Repeats")}>
            <button type="button" class="cs-text-button cs-mono" onClick={() => openJob(session, job.cloned_from)}>
              {job.cloned_from}
            </button>
          </Fact>
        )}
      </dl>
      {job.phases.length > 0 && (
        <section aria-label={trans.__("What happened when")}>
          <h3>{trans.__("What happened when")}</h3>
          <ol class="cs-phases">
            {job.phases.map(({ status, since }, index) => {
              const next = job.phases[index + 1]?.since ?? (under ? null : job.ended);
              const lasted = (Date.parse(next ?? "") || now) - Date.parse(since);
              const last = index === job.phases.length - 1;
              return (
                <li key={since + status}>
                  <span class="cs-soft">{new Date(since).toLocaleTimeString()}</span> {statusWord(status, trans)}
                  {!(last && !under) && <span class="cs-hint"> {duration(lasted / 1000, trans)}</span>}
                </li>
              );
            })}
          </ol>
        </section>
      )}
    </div>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Seconds that are left if it goes on as until now; null: too early to say. */
export function remaining(progress: number | null, ran: number | null): number | null {
  if (progress === null || ran === null || progress < 0.05 || progress >= 1 || ran < 10) return null;
  return (ran / progress) * (1 - progress);
}

function optionsText(options: object): string {
  return Object.entries(options)
    .slice(0, 4)
    .map(([name, value]) => `${name} ${String(value).slice(0, 30)}`)
    .join(", ");
}
