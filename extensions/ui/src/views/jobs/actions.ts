/** What can be done with a job, told when it is done or why it is not. */

import { asProblem } from "../../api/problem";
import type { Job, JobSummary } from "../../api/schema";
import type { Translation } from "../../i18n";
import type { Session } from "../../state/session";
import { openJob } from "./ui-state";
import { titleOf } from "./words";

/** Do it, bring the list up to date, and say why where it was refused. */
export async function act<T>(session: Session, work: () => Promise<T>): Promise<T | null> {
  try {
    const done = await work();
    await session.jobs.refresh();
    return done;
  } catch (thrown) {
    const { message, hint } = asProblem(thrown);
    session.say(`${message} ${hint}`.trim(), "error");
    return null;
  }
}

type Change = "cancel" | "pause" | "resume";

export function change(session: Session, job: JobSummary, how: Change): Promise<Job | null> {
  return act(session, () => session.api.post(`/jobs/{job_id}/${how}`, { path: { job_id: job.id } }));
}

/** Submit the same as a new job. */
export async function retry(session: Session, trans: Translation, job: JobSummary, suggested: boolean): Promise<void> {
  const body = { suggested, changes: {} };
  const headers = { "Idempotency-Key": crypto.randomUUID() };
  const made = await act(session, () => session.api.post("/jobs/{job_id}/clone", { path: { job_id: job.id }, body: body as never, headers }));
  if (!made) return;
  session.say(trans.__("%1 was submitted again.", titleOf(job, trans)), "success");
  openJob(session, made.id);
}

/** Share the results in the community's catalogue, by a staging job. */
export async function publish(session: Session, trans: Translation, job: JobSummary): Promise<void> {
  const headers = { "Idempotency-Key": `publish-${job.id}` };
  const made = await act(session, () => session.api.post("/jobs/{job_id}/publish", { path: { job_id: job.id }, headers }));
  if (!made) return;
  session.say(trans.__("The results are being copied to the community's bucket and written to its catalogue."), "success");
  openJob(session, made.id);
}

/** Copy the results to the bucket of a VO, and tell no catalogue. */
export async function stageResults(session: Session, trans: Translation, job: JobSummary): Promise<void> {
  const body = {
    engine: "staging" as const,
    title: trans.__("Results of %1", titleOf(job, trans)).slice(0, 200),
    vo: job.spec.vo,
    process: { job: job.id, assets: null, register: false },
  };
  const headers = { "Idempotency-Key": `stage-${job.id}` };
  const made = await act(session, () => session.api.post("/jobs", { body, headers }));
  if (!made) return;
  session.say(trans.__("The results are being copied to the bucket."), "success");
  openJob(session, made.id);
}

/** Code of a job into the notebook that is open, or onto the clipboard. */
export async function insertCode(session: Session, trans: Translation, job: Pick<JobSummary, "id">, kind: "results" | "submit"): Promise<void> {
  const put = session.host.insertCode;
  await act(session, async () => {
    const { code, notes } = await session.api.get("/jobs/{job_id}/code", { path: { job_id: job.id }, query: { kind } });
    if (put) await put({ key: `job-${kind}-${job.id}`, code });
    else await navigator.clipboard.writeText(code);
    session.say([put ? trans.__("The code is in the notebook.") : trans.__("The code is copied."), ...notes].join(" "), "success");
  });
}
