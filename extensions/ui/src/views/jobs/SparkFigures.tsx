/** Stages, tasks and executors of a Spark application, and the way to its own pages. */

import type { JobSummary } from "../../api/schema";
import { Note, Progress } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { duration } from "./words";
import { isOpen } from "./listing";

type Figures = Record<string, unknown>;

function part(figures: Figures, name: string): Figures {
  const value = figures[name];
  return typeof value === "object" && value !== null ? (value as Figures) : {};
}

function count(figures: Figures, name: string): number {
  const value = figures[name];
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

export function SparkFigures({ job }: { job: JobSummary }) {
  const trans = useTranslation();
  const usage = part(job.usage, "spark");
  const [tasks, stages, executors, shuffle] = ["tasks", "stages", "executors", "shuffle"].map((name) => part(usage, name)) as [Figures, Figures, Figures, Figures];
  const total = count(tasks, "total");
  const done = count(tasks, "completed");
  const allStages = ["active", "complete", "failed"].reduce((sum, name) => sum + count(stages, name), 0);
  const spilled = count(shuffle, "spilled_bytes");
  const seconds = count(usage, "task_seconds");
  const gc = count(usage, "gc_seconds");
  // Its pages are behind the same hub: a path of this origin, or nothing.
  const pages = isOpen(job) && /^\/(?!\/)/.test(job.ui_path) ? job.ui_path : "";
  if (!total && !allStages && !pages) return null;
  return (
    <section class="cs-spark" aria-label={trans.__("Spark")}>
      {total > 0 && (
        <div>
          <div class="cs-job-line">
            <span>{trans.__("Tasks: %1 of %2 done", done, total)}</span>
            <span class="cs-hint">
              {trans.__("%1 running", count(tasks, "active"))}
              {count(tasks, "failed") > 0 && ` · ${trans.__("%1 failed", count(tasks, "failed"))}`}
            </span>
          </div>
          <Progress label={trans.__("Tasks")} value={done / total} />
        </div>
      )}
      {allStages > 0 && (
        <div>
          <div class="cs-job-line">
            <span>{trans.__("Stages: %1 of %2 done", count(stages, "complete"), allStages)}</span>
            <span class="cs-hint">
              {trans.__("%1 running", count(stages, "active"))}
              {count(stages, "failed") > 0 && ` · ${trans.__("%1 failed", count(stages, "failed"))}`}
            </span>
          </div>
          <Progress label={trans.__("Stages")} value={count(stages, "complete") / allStages} />
        </div>
      )}
      <p class="cs-hint">
        {[
          count(executors, "total") > 0 ? trans.__("%1 of %2 executors", count(executors, "active"), count(executors, "total")) : "",
          count(usage, "cores") > 0 ? trans._n("%1 processor", "%1 processors", count(usage, "cores")) : "",
          count(usage, "input_bytes") > 0 ? trans.__("%1 read", bytes(count(usage, "input_bytes"))) : "",
          seconds > 0 ? trans.__("%1 of computing in all", duration(seconds, trans)) : "",
        ]
          .filter(Boolean)
          .join(" · ")}
      </p>
      {spilled > 0 && (
        <Note tone="warning" title={trans.__("%1 did not fit into memory and went to disk.", bytes(spilled))}>
          {trans.__("It is slower so. Clone it with more executor memory, or with more partitions.")}
        </Note>
      )}
      {seconds > 30 && gc / seconds > 0.2 && (
        <Note tone="warning" title={trans.__("%1 % of the time goes into freeing memory.", Math.round((gc / seconds) * 100))}>
          {trans.__("Clone it with more executor memory.")}
        </Note>
      )}
      {pages && (
        <p>
          <a class="cs-link" href={pages} target="_blank" rel="noopener noreferrer">
            {trans.__("Spark's own pages")}
          </a>
        </p>
      )}
    </section>
  );
}
