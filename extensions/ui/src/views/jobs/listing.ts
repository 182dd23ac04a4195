/** Which jobs the list shows, in which groups. */

import type { JobSummary } from "../../api/schema";
import type { Translation } from "../../i18n";
import { engineName, statusWord } from "./words";

export const STATES = ["all", "open", "finished", "failed"] as const;
export const GROUPS = ["none", "status", "engine", "day"] as const;
export const ENGINES = ["", "openeo", "spark", "slurm", "staging"] as const;

export interface Listing {
  text: string;
  state: (typeof STATES)[number];
  engine: (typeof ENGINES)[number];
  group: (typeof GROUPS)[number];
}

export const ANYTHING: Listing = { text: "", state: "all", engine: "", group: "none" };

export type Row = { kind: "group"; key: string; title: string; count: number; folded: boolean } | { kind: "job"; key: string; job: JobSummary };

const ENDED = new Set(["finished", "canceled", "error", "lost"]);
const FAILED = new Set(["error", "lost"]);

export function isOpen({ status }: Pick<JobSummary, "status">): boolean {
  return !ENDED.has(status);
}

export function isFailed({ status }: Pick<JobSummary, "status">): boolean {
  return FAILED.has(status);
}

export function isListing(value: unknown): value is Listing {
  const { text, state, engine, group } = (value ?? {}) as Record<string, unknown>;
  const among = (names: readonly string[], name: unknown) => typeof name === "string" && names.includes(name);
  return typeof text === "string" && among(STATES, state) && among(ENGINES, engine) && among(GROUPS, group);
}

function wanted(job: JobSummary, { text, state, engine }: Listing): boolean {
  if (engine && job.spec.engine !== engine) return false;
  if (state === "open" && !isOpen(job)) return false;
  if (state === "finished" && job.status !== "finished") return false;
  if (state === "failed" && !isFailed(job)) return false;
  if (!text) return true;
  const { spec, id, message, engine_id, error } = job;
  const said = [spec.title, id, spec.backend, spec.vo, message, engine_id, error?.message ?? ""].join(" ").toLowerCase();
  return text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => said.includes(word));
}

/** The jobs that are wanted, the newest first. */
export function chosenJobs(jobs: readonly JobSummary[], listing: Listing): JobSummary[] {
  return jobs.filter((job) => wanted(job, listing));
}

/** The jobs as rows, below the heads of their groups. */
export function rowsOf(jobs: readonly JobSummary[], group: Listing["group"], folded: readonly string[], trans: Translation): Row[] {
  const row = (job: JobSummary): Row => ({ kind: "job", key: job.id, job });
  if (group === "none") return jobs.map(row);
  const groups = new Map<string, JobSummary[]>();
  const titles = new Map<string, string>();
  for (const job of jobs) {
    const [key, title] = groupOf(job, group, trans);
    const members = groups.get(key);
    if (members) members.push(job);
    else groups.set(key, [job]);
    titles.set(key, title);
  }
  return [...groups].flatMap(([name, members]) => {
    const key = `${group}:${name}`;
    const closed = folded.includes(key);
    const head: Row = { kind: "group", key, title: titles.get(name) ?? name, count: members.length, folded: closed };
    return closed ? [head] : [head, ...members.map(row)];
  });
}

function groupOf(job: JobSummary, group: Listing["group"], trans: Translation): [key: string, title: string] {
  if (group === "status") return [job.status, statusWord(job.status, trans)];
  if (group === "engine") return [job.spec.engine, engineName(job.spec.engine, trans)];
  const day = new Date(job.created);
  return [day.toDateString(), day.toLocaleDateString(undefined, { dateStyle: "full" })];
}
