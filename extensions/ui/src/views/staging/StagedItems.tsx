/** The items that a staging has brought, and the folder of each. */

import { useState } from "preact/hooks";
import { ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import { folderOf } from "./stagings";

const MOST = 50;

export function StagedItems({ id, count }: { id: string; count: number }) {
  const trans = useTranslation();
  const { api } = useSession();
  const [open, setOpen] = useState(false);
  const job = useAsked([id, open, count], open ? (signal) => api.get("/jobs/{job_id}", { path: { job_id: id }, signal }) : null);
  const items = job.value?.results ?? [];
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{trans._n("%1 item, and where it is", "%1 items, and where they are", count)}</summary>
      {job.problem && <ProblemNote problem={job.problem} retry={job.retry} />}
      {open && job.waiting && !job.value && <Waiting>{trans.__("Loading…")}</Waiting>}
      <ul class="cs-plain-list">
        {items.slice(0, MOST).map((item, index) => (
          <li key={index} class="cs-staged-item">
            <span class="cs-break">{String(item.id ?? "")}</span>
            <span class="cs-mono cs-soft cs-break">{folderOf(item)}</span>
          </li>
        ))}
      </ul>
      {items.length > MOST && <p class="cs-hint">{trans.__("and %1 more", items.length - MOST)}</p>}
    </details>
  );
}
