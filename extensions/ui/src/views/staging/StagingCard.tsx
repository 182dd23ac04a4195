/** One staging: how far it is, what went wrong, what can be done with it, what came of it. */

import { useRef } from "preact/hooks";
import type { JobSummary } from "../../api/schema";
import { Button, IconButton } from "../../design/controls";
import { Badge, Note, ProblemNote, Progress } from "../../design/feedback";
import { moment } from "../../design/figures";
import { useTranslation, type Translation } from "../../i18n";
import { useSending, useSession } from "../../state/hooks";
import { StagedItems } from "./StagedItems";
import { progressText, registered } from "./stagings";

const TONES = { created: "plain", queued: "plain", running: "info", paused: "warning", finished: "success", canceled: "plain", error: "error", lost: "error" } as const;

function statusText({ status, wanted, ended }: JobSummary, trans: Translation): string {
  if (!ended && wanted === "cancel") return trans.__("stopping");
  if (!ended && wanted === "pause" && status !== "paused") return trans.__("pausing");
  return {
    created: trans.__("being sent"),
    queued: trans.__("waits for its turn"),
    running: trans.__("under way"),
    paused: trans.__("paused"),
    finished: trans.__("done"),
    canceled: trans.__("stopped"),
    error: trans.__("failed"),
    lost: trans.__("lost"),
  }[status];
}

export function StagingCard({ job }: { job: JobSummary }) {
  const trans = useTranslation();
  const session = useSession();
  const { api } = session;
  const { sending: busy, problem, send } = useSending();
  // The same key however often the button is pressed: the server makes one job.
  const key = useRef(crypto.randomUUID());
  const { id, spec, status, progress, message, created, error, actions, ended, result_count } = job;
  const title = spec.title || trans.__("Staging of %1", moment(created));
  const path = { job_id: id };
  const can = (action: (typeof actions)[number]) => actions.includes(action);
  const attempt = (act: () => Promise<unknown>) =>
    send(async () => {
      await act();
      await session.jobs.refresh();
    });
  const again = () =>
    attempt(async () => {
      await api.post("/jobs/{job_id}/clone", { path, body: { suggested: true }, headers: { "Idempotency-Key": key.current } });
      session.say(trans.__("It is tried again as a new staging; what has arrived is not fetched again."), "success");
    });
  const outcomes = registered(job);
  const words: Record<string, string> = {
    created: trans.__("new"),
    updated: trans.__("updated"),
    unchanged: trans.__("unchanged"),
    error: trans.__("failed"),
  };
  const far = progressText(job, trans);
  return (
    <li class="cs-staging-card" aria-label={title}>
      <header class="cs-staging-card-head">
        <h3 class="cs-break">{title}</h3>
        <Badge tone={TONES[status]}>{statusText(job, trans)}</Badge>
        <span class="cs-spacer" />
        <span class="cs-hint">{moment(created)}</span>
        {can("delete") && (
          <IconButton icon="close" disabled={busy} label={trans.__("Take %1 from the list; the files stay", title)} onClick={() => void attempt(() => api.delete("/jobs/{job_id}", { path }))} />
        )}
      </header>
      {!ended && <Progress label={trans.__("Progress of %1", title)} value={status === "queued" || status === "created" ? (progress ?? 0) : progress} />}
      <dl class="cs-staging-facts">
        {far && (
          <div>
            <dt>{trans.__("Files")}</dt>
            <dd>{far}</dd>
          </div>
        )}
        {spec.vo && (
          <div>
            <dt>{trans.__("Bucket")}</dt>
            <dd class="cs-break">{trans.__("products of %1", spec.vo)}</dd>
          </div>
        )}
        {(outcomes.length > 0 || status === "finished") && (
          <div>
            <dt>{trans.__("Catalogue")}</dt>
            <dd class="cs-break">
              {outcomes.length
                ? outcomes.map(({ collection, outcome, count }) => trans.__("%1 %2 in %3", count, words[outcome] ?? outcome, collection)).join(", ")
                : trans.__("not written to the catalogue of the community")}
            </dd>
          </div>
        )}
      </dl>
      {!ended && message && <p class="cs-hint cs-break">{message}</p>}
      {error && (
        <Note tone="error" title={error.message}>
          {error.hint}
        </Note>
      )}
      {problem && <ProblemNote problem={problem} />}
      <div class="cs-actions">
        {can("pause") && (
          <Button icon="pause" disabled={busy} aria-label={trans.__("Pause %1", title)} onClick={() => void attempt(() => api.post("/jobs/{job_id}/pause", { path }))}>
            {trans.__("Pause")}
          </Button>
        )}
        {can("resume") && (
          <Button icon="play" kind="primary" disabled={busy} aria-label={trans.__("Go on with %1", title)} onClick={() => void attempt(() => api.post("/jobs/{job_id}/resume", { path }))}>
            {trans.__("Go on")}
          </Button>
        )}
        {can("cancel") && (
          <Button icon="close" disabled={busy} aria-label={trans.__("Stop %1", title)} onClick={() => void attempt(() => api.post("/jobs/{job_id}/cancel", { path }))}>
            {trans.__("Stop")}
          </Button>
        )}
        {can("clone") && status !== "finished" && ended && (
          <Button icon="refresh" kind="primary" disabled={busy} aria-label={trans.__("Try %1 again", title)} onClick={() => void again()}>
            {trans.__("Try again")}
          </Button>
        )}
      </div>
      {result_count > 0 && <StagedItems id={id} count={result_count} />}
    </li>
  );
}
