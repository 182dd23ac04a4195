/** What the list of jobs tells of stagings. */

import type { JobSummary } from "../../api/schema";
import type { Translation } from "../../i18n";
import { bytes } from "../../design/figures";

export function stagings(jobs: readonly JobSummary[]): readonly JobSummary[] {
  return jobs.filter(({ spec }) => spec.engine === "staging");
}

/** How far it is, in files and bytes; empty before that is known. */
export function progressText({ transferred }: JobSummary, trans: Translation): string {
  if (!transferred) return "";
  const { files_done, files_total, bytes_done, bytes_total } = transferred;
  const files = trans._n("%2 of %1 file", "%2 of %1 files", files_total, files_done);
  return typeof bytes_total === "number"
    ? trans.__("%1, %2 of %3", files, bytes(bytes_done), bytes(bytes_total))
    : trans.__("%1, %2; not all files state their size", files, bytes(bytes_done));
}

/** How many items came to what in the catalogue, such as `created`. */
export function registered({ usage }: Pick<JobSummary, "usage">): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  if (Array.isArray(usage.registered)) {
    for (const { outcome } of usage.registered as { outcome?: unknown }[]) {
      if (typeof outcome === "string") counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    }
  }
  return counts;
}

/** The folder in a bucket that holds the files of a staged item; empty where it names none. */
export function folderOf(item: unknown): string {
  const { assets } = (item ?? {}) as { assets?: Record<string, { href?: unknown; alternate?: Record<string, { href?: unknown }> }> };
  for (const asset of Object.values(assets ?? {})) {
    for (const href of [asset.href, ...Object.values(asset.alternate ?? {}).map((each) => each.href)]) {
      if (typeof href === "string" && href.startsWith("s3://")) return href.slice(0, href.lastIndexOf("/") + 1);
    }
  }
  return "";
}
