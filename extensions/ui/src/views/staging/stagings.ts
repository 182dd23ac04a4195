/** What the list of jobs tells of stagings. */

import type { JobSummary } from "../../api/schema";
import type { Translation } from "../../i18n";
import type { Folder } from "../../state/session";
import { bytes } from "../../design/figures";

export function stagings(jobs: readonly JobSummary[]): readonly JobSummary[] {
  return jobs.filter(({ spec }) => spec.engine === "staging");
}

/** How far it is, in files and bytes; empty before that is known. */
export function progressText({ transferred }: JobSummary, trans: Translation): string {
  if (!transferred) return "";
  const { files_done, files_total, bytes_done, bytes_total } = transferred;
  if (files_done === files_total && bytes_done === bytes_total) return trans._n("%1 file, %2", "%1 files, %2", files_total, bytes(bytes_done));
  const files = trans._n("%2 of %1 file", "%2 of %1 files", files_total, files_done);
  return typeof bytes_total === "number"
    ? trans.__("%1, %2 of %3", files, bytes(bytes_done), bytes(bytes_total))
    : trans.__("%1, %2; not all files state their size", files, bytes(bytes_done));
}

/** How many items of a collection came to what in the catalogue, such as `created`. */
export interface Registered {
  collection: string;
  outcome: string;
  count: number;
}

export function registered({ usage }: Pick<JobSummary, "usage">): Registered[] {
  const counts = new Map<string, Registered>();
  if (Array.isArray(usage.registered)) {
    for (const { collection, outcome } of usage.registered as { collection?: unknown; outcome?: unknown }[]) {
      if (typeof outcome !== "string" || typeof collection !== "string") continue;
      const name = `${collection} ${outcome}`;
      counts.set(name, { collection, outcome, count: (counts.get(name)?.count ?? 0) + 1 });
    }
  }
  return [...counts.values()];
}

/** The folder in a bucket that holds the files of a staged item; null where it names none. */
export function folderOf(item: unknown): Folder | null {
  const { assets } = (item ?? {}) as { assets?: Record<string, { href?: unknown; alternate?: Record<string, { href?: unknown }> }> };
  for (const asset of Object.values(assets ?? {})) {
    for (const href of [asset.href, ...Object.values(asset.alternate ?? {}).map((each) => each.href)]) {
      const parts = typeof href === "string" ? /^s3:\/\/([^/]+)\/(.*\/)[^/]*$/.exec(href) : null;
      if (parts) return { bucket: parts[1] ?? "", prefix: parts[2] ?? "" };
    }
  }
  return null;
}
