/** Jobs in plain words: what they do, where, for how long. */

import type { JobSummary } from "../../api/schema";
import type { Translation } from "../../i18n";
import type { Places } from "./places";

type Status = JobSummary["status"];
type Engine = JobSummary["spec"]["engine"];
export type Tone = "info" | "success" | "warning" | "error" | "plain";

export const TONES: Record<Status, Tone> = {
  created: "plain",
  queued: "plain",
  running: "info",
  paused: "warning",
  finished: "success",
  canceled: "plain",
  error: "error",
  lost: "error",
};

export function statusWord(status: Status, trans: Translation): string {
  switch (status) {
    case "created":
      return trans.__("Being sent");
    case "queued":
      return trans.__("Waiting");
    case "running":
      return trans.__("Running");
    case "paused":
      return trans.__("Paused");
    case "finished":
      return trans.__("Finished");
    case "canceled":
      return trans.__("Cancelled");
    case "error":
      return trans.__("Failed");
    case "lost":
      return trans.__("Lost");
  }
}

/** The status in one sentence. */
export function statusSentence(job: JobSummary, places: Places, trans: Translation): string {
  const place = placeOf(job, places, trans);
  if (job.wanted === "cancel" && !job.ended) return trans.__("It is being cancelled.");
  if (job.wanted === "pause" && job.status !== "paused" && !job.ended) return trans.__("It will pause as soon as it can.");
  switch (job.status) {
    case "created":
      return trans.__("It is being sent to %1.", place);
    case "queued":
      return trans.__("%1 has it and will start it when there is room.", place);
    case "running":
      // Some engines have nothing to say but the status itself.
      return job.message && job.message !== job.status ? job.message : trans.__("%1 is working on it.", place);
    case "paused":
      return trans.__("It rests. What was done is kept; it goes on from there.");
    case "finished":
      return trans._n("It is done: %1 result.", "It is done: %1 results.", job.result_count);
    case "canceled":
      return trans.__("It was cancelled.");
    case "error":
      return job.error?.message || job.message || trans.__("%1 reported an error.", place);
    case "lost":
      return job.error?.message || trans.__("%1 does not know it any more.", place);
  }
}

export function engineName(engine: Engine, trans: Translation): string {
  switch (engine) {
    case "openeo":
      return trans.__("openEO");
    case "spark":
      return trans.__("Spark");
    case "slurm":
      return trans.__("Slurm");
    case "staging":
      return trans.__("Staging");
  }
}

/** Where it runs, as people call it. */
export function placeOf({ spec: { engine, backend } }: Pick<JobSummary, "spec">, places: Places, trans: Translation): string {
  if (engine === "staging") return trans.__("The staging service");
  if (engine === "spark" && (!backend || backend === "local")) return trans.__("Spark on this server");
  const name = engineName(engine, trans);
  return places.get(`${engine} ${backend}`) || (backend && backend.toLowerCase() !== name.toLowerCase() ? `${name} (${backend})` : name);
}

export function titleOf(job: Pick<JobSummary, "spec" | "id">, trans: Translation): string {
  return job.spec.title || trans.__("Job %1", job.id);
}

export interface Times {
  /** Seconds that it waited, and ran, without pauses; null: it has not come to it. */
  waited: number | null;
  ran: number | null;
}

/** How long it waited and ran until now, by the phases that were written down. */
export function timesOf({ phases, ended, created }: JobSummary, now: number): Times {
  const last = ended ? Date.parse(ended) : now;
  const times: Times = { waited: null, ran: null };
  const steps = phases.length ? phases : [{ status: "created" as const, since: created }];
  for (const [index, { status, since }] of steps.entries()) {
    const next = steps[index + 1];
    const seconds = Math.max(0, ((next ? Date.parse(next.since) : last) - Date.parse(since)) / 1000);
    if (status === "created" || status === "queued") times.waited = (times.waited ?? 0) + seconds;
    if (status === "running") times.ran = (times.ran ?? 0) + seconds;
  }
  return times;
}

/** `4 min 10 s`: two units at most. */
export function duration(seconds: number, trans: Translation): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return trans.__("%1 s", whole);
  if (whole < 3600) return trans.__("%1 min %2 s", Math.floor(whole / 60), whole % 60);
  if (whole < 172_800) return trans.__("%1 h %2 min", Math.floor(whole / 3600), Math.floor((whole % 3600) / 60));
  return trans.__("%1 days %2 h", Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3600));
}

/** `PT1H30M` in words; what is no such duration, as it is. */
export function isoDuration(text: string, trans: Translation): string {
  const match = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(text);
  if (!match || text.length < 3) return text;
  const [days, hours, minutes, seconds] = match.slice(1).map((part) => Number(part ?? 0));
  return duration((((days ?? 0) * 24 + (hours ?? 0)) * 60 + (minutes ?? 0)) * 60 + (seconds ?? 0), trans);
}

/** How long ago: `3 min ago`, or the day. */
export function ago(time: string, now: number, trans: Translation): string {
  const seconds = (now - Date.parse(time)) / 1000;
  if (seconds < 45) return trans.__("just now");
  if (seconds < 3600) return trans.__("%1 min ago", Math.max(1, Math.round(seconds / 60)));
  if (seconds < 86_400) return trans.__("%1 h ago", Math.round(seconds / 3600));
  return new Date(time).toLocaleDateString(undefined, { dateStyle: "medium" });
}
