/** What a staging would fetch as the server sees it: what is in the bucket already, and whether the rest fits. */

import { Note } from "../design/feedback";
import { bytes } from "../design/figures";
import { useTranslation } from "../i18n";
import { useAsked, useSession } from "../state/hooks";
import type { Item } from "./item";

/** The members of an estimate that staging adds. */
interface StagingEstimate {
  known: boolean;
  size?: number | null;
  present_files?: number;
  present_bytes?: number;
  room?: number | null;
  fits?: boolean | null;
  left_out?: string[];
}

/** Items that are sent for an estimate at most: whole ones are large. */
const MOST = 200;

interface StageEstimateProps {
  items: readonly Item[];
  assets: readonly string[] | null;
  vo: string;
  register: boolean;
}

export function StageEstimate({ items, assets, vo, register }: StageEstimateProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const about = assets?.join(" ") ?? "";
  const { value, problem, waiting } = useAsked(
    [items, about, vo],
    items.length > MOST
      ? null
      : (signal) => api.post("/jobs/estimate", { body: { engine: "staging", vo, process: { items, assets, register } }, signal }) as Promise<StagingEstimate>,
  );
  if (problem) return <p class="cs-hint">{trans.__("What is there already could not be looked up: %1", problem.message)}</p>;
  if (waiting) return <p class="cs-hint">{trans.__("Looking what is in the bucket already…")}</p>;
  if (!value?.known) return null;
  const { size, present_files = 0, present_bytes = 0, room, fits, left_out = [] } = value;
  return (
    <div class="cs-hint" role="status">
      {present_files > 0 && <p>{trans._n("%1 file (%2) is in the bucket already.", "%1 files (%2) are in the bucket already.", present_files, bytes(present_bytes))}</p>}
      <p>{typeof size === "number" ? trans.__("To be fetched: %1.", bytes(size)) : trans.__("To be fetched: not all files state their size.")}</p>
      {typeof room === "number" && <p>{trans.__("The quota of the bucket leaves %1.", bytes(room))}</p>}
      {left_out.map((sentence) => (
        <p key={sentence}>{trans.__("Left out: %1", sentence)}</p>
      ))}
      {fits === false && <Note tone="warning">{trans.__("That is more than the quota leaves: choose fewer files, or make room first.")}</Note>}
    </div>
  );
}
