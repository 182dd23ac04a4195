/** The items that a staging has brought, and the folder of each. */

import { useState } from "preact/hooks";
import { IconButton } from "../../design/controls";
import { ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import type { Folder } from "../../state/session";
import { useHasView } from "../view";
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
          <Staged key={index} id={String(item.id ?? "")} folder={folderOf(item)} />
        ))}
      </ul>
      {items.length > MOST && <p class="cs-hint">{trans.__("and %1 more", items.length - MOST)}</p>}
    </details>
  );
}

function Staged({ id, folder }: { id: string; folder: Folder | null }) {
  const trans = useTranslation();
  const session = useSession();
  const hasStorage = useHasView("storage");
  const address = folder && `s3://${folder.bucket}/${folder.prefix}`;
  const copy = async (text: string) => {
    try {
      await navigator.clipboard.writeText(text);
      session.say(trans.__("Copied."), "success");
    } catch {
      session.say(trans.__("The browser did not let it be copied."), "error");
    }
  };
  return (
    <li class="cs-staged-item">
      <span class="cs-staged-text">
        <span class="cs-break">{id}</span>
        {address && <span class="cs-mono cs-soft cs-break">{address}</span>}
      </span>
      {address && <IconButton icon="copy" label={trans.__("Copy %1", address)} onClick={() => void copy(address)} />}
      {address && hasStorage && (
        <IconButton
          icon="folder"
          label={trans.__("Show the files of %1", id)}
          onClick={() => {
            session.folder.set(folder);
            session.goTo("storage");
          }}
        />
      )}
    </li>
  );
}
