/** The one list of jobs of all engines: filtered, grouped, searched. */

import { useMemo, useState } from "preact/hooks";
import type { JobSummary } from "../../api/schema";
import { Button, IconButton, SelectField, TextField } from "../../design/controls";
import { Badge, Empty, ProblemNote, Progress, Waiting } from "../../design/feedback";
import { Icon } from "../../design/icons";
import { VirtualList } from "../../design/virtual-list";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { ANYTHING, chosenJobs, ENGINES, isOpen, rowsOf, type Listing, type Row } from "./listing";
import { useNow } from "./now";
import { placesOf, type Places } from "./places";
import { jobsUi, newJob, openJob } from "./ui-state";
import { ago, duration, engineName, statusSentence, statusWord, timesOf, titleOf, TONES } from "./words";

const ROW = 62; // pixels

export function JobList({ shown }: { shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const ui = jobsUi(session);
  const { jobs, known, problem } = useStore(session.jobs.state);
  const listing = useStore(ui.listing);
  const folded = useStore(ui.folded);
  const open = useStore(ui.open);
  const making = useStore(ui.making);
  const [active, setActive] = useState<string | null>(null);
  const places = useStore(placesOf(session));
  const now = useNow(shown && jobs.length > 0, jobs.some(isOpen) ? 1000 : 30_000);
  const chosen = useMemo(() => chosenJobs(jobs, listing), [jobs, listing]);
  const rows = useMemo(() => rowsOf(chosen, listing.group, folded, trans), [chosen, listing.group, folded, trans]);
  const change = (changes: Partial<Listing>) => ui.listing.set((before) => ({ ...before, ...changes }));
  const filtered = listing.text !== "" || listing.state !== "all" || listing.engine !== "";
  const enter = (row: Row) => {
    if (row.kind === "job") openJob(session, row.key, ui.part.get());
    else ui.folded.set((before) => (before.includes(row.key) ? before.filter((other) => other !== row.key) : [...before, row.key]));
  };
  return (
    <>
      <div class="cs-jobs-tools">
        <div class="cs-jobs-first">
          <TextField quiet type="search" label={trans.__("Search in the jobs")} placeholder={trans.__("Search")} value={listing.text} onValue={(text) => change({ text })} />
          <Button kind="primary" icon="plus" onClick={() => newJob(session)}>
            {trans.__("New job")}
          </Button>
        </div>
        <div class="cs-jobs-filters">
          <SelectField
            quiet
            label={trans.__("Which jobs are shown")}
            value={listing.state}
            onValue={(state) => change({ state: state as Listing["state"] })}
            options={[
              ["all", trans.__("All")],
              ["open", trans.__("Under way")],
              ["finished", trans.__("Finished")],
              ["failed", trans.__("Failed")],
            ]}
          />
          <SelectField
            quiet
            label={trans.__("Engine")}
            value={listing.engine}
            onValue={(engine) => change({ engine: engine as Listing["engine"] })}
            options={ENGINES.map((name) => [name, name ? engineName(name, trans) : trans.__("Any engine")] as const)}
          />
          <SelectField
            quiet
            label={trans.__("Grouped by")}
            value={listing.group}
            onValue={(group) => change({ group: group as Listing["group"] })}
            options={[
              ["none", trans.__("In one list")],
              ["status", trans.__("By status")],
              ["engine", trans.__("By engine")],
              ["day", trans.__("By day")],
            ]}
          />
        </div>
        <div class="cs-jobs-count">
          <span class="cs-hint" role="status">
            {known && (filtered ? trans.__("%1 of %2", chosen.length, jobs.length) : trans._n("%1 job", "%1 jobs", jobs.length))}
          </span>
          {filtered && <IconButton icon="clear" label={trans.__("Show all jobs")} onClick={() => ui.listing.set({ ...ANYTHING, group: listing.group })} />}
        </div>
      </div>
      {problem && (
        <div class="cs-pad">
          <ProblemNote problem={problem} retry={() => void session.jobs.refresh()} />
        </div>
      )}
      {!known && !problem && <Waiting>{trans.__("Reading the list of jobs…")}</Waiting>}
      {known && !jobs.length && (
        <Empty icon="jobs" title={trans.__("There are no jobs yet")}>
          {trans.__("A job computes on the site's clusters and goes on when you close this page. Start with a workflow.")}
        </Empty>
      )}
      {known && jobs.length > 0 && !chosen.length && (
        <Empty
          icon="filter"
          title={trans.__("No job is like that")}
          actions={<Button onClick={() => ui.listing.set({ ...ANYTHING, group: listing.group })}>{trans.__("Show all jobs")}</Button>}
        />
      )}
      {rows.length > 0 && (
        <VirtualList
          label={trans.__("Jobs")}
          items={rows}
          rowHeight={ROW}
          keyOf={({ key }) => key}
          active={active ?? (making ? null : open || null)}
          onActive={setActive}
          onOpen={enter}
          isSelected={({ key }) => !making && key === open}
          row={(row) => (row.kind === "job" ? <JobRow job={row.job} places={places} now={now} /> : <GroupRow row={row} />)}
        />
      )}
    </>
  );
}

function GroupRow({ row }: { row: Row & { kind: "group" } }) {
  const trans = useTranslation();
  return (
    <div class="cs-job-group">
      <Icon name={row.folded ? "right" : "down"} />
      <strong>{row.title}</strong>
      <span class="cs-tab-badge">{row.count}</span>
      <span class="cs-unseen">{row.folded ? trans.__("folded") : trans.__("unfolded")}</span>
    </div>
  );
}

function JobRow({ job, places, now }: { job: JobSummary; places: Places; now: number }) {
  const trans = useTranslation();
  const { waited, ran } = timesOf(job, now);
  const under = isOpen(job);
  const time = under ? duration((job.status === "running" ? ran : waited) ?? ran ?? 0, trans) : ago(job.ended ?? job.updated, now, trans);
  return (
    <div class="cs-job-row">
      <div class="cs-job-line">
        <strong class="cs-cut">{titleOf(job, trans)}</strong>
        <Badge tone={TONES[job.status]}>{statusWord(job.status, trans)}</Badge>
      </div>
      <div class="cs-job-line cs-hint">
        <span class="cs-cut">
          {engineName(job.spec.engine, trans)} · {statusSentence(job, places, trans)}
        </span>
        <span class="cs-job-time">{time}</span>
      </div>
      {job.status === "running" && <Progress label={trans.__("Progress of %1", titleOf(job, trans))} value={honest(job.progress)} />}
    </div>
  );
}

/** Nothing that is known to be done is not known: no bar stands at 0 %. */
export function honest(progress: number | null): number | null {
  return progress === null || progress <= 0 ? null : progress;
}
