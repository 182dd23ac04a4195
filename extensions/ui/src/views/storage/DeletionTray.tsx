/** The folders that are being deleted, below whatever is shown. */

import { Button, IconButton } from "../../design/controls";
import { Progress } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { deletionsOf, type DeletionEntry } from "./deletions";
import { nameOf } from "./where";

export function DeletionTray() {
  const trans = useTranslation();
  const list = useStore(deletionsOf(useSession()).list);
  if (!list.length) return null;
  return (
    <section class="cs-tray" aria-label={trans.__("Deletions")}>
      <ul class="cs-plain-list">
        {list.map((entry) => (
          <Line key={entry.id} entry={entry} />
        ))}
      </ul>
    </section>
  );
}

function Line({ entry }: { entry: DeletionEntry }) {
  const trans = useTranslation();
  const deletions = deletionsOf(useSession());
  const { id, bucket, prefix, objects, deleted, known, phase, refused, problem } = entry;
  const name = nameOf(prefix);
  const left = objects - deleted;
  const far = trans._n("%2 of %1 file", "%2 of %1 files", objects, deleted);
  const words = {
    deleting: deleted ? trans.__("%1 deleted", far) : trans.__("Looking what is in it: %1 so far", objects),
    stopped: trans.__("Stopped: %1 deleted, the rest is kept.", far),
    failed: trans.__("%1 deleted, the rest is kept.", far),
    kept: trans._n("%2 deleted; %1 file was kept.", "%2 deleted; %1 files were kept.", left, far),
    "broken-off": trans.__("Broken off by a reload: %1 deleted, the rest is kept.", far),
    done: !deleted ? trans.__("Deleted; it was empty") : trans._n("Deleted, with %1 file", "Deleted, with %1 files", deleted),
  }[phase];
  return (
    <li class="cs-tray-line">
      <div class="cs-tray-text" role={phase === "deleting" ? undefined : "status"}>
        <span class="cs-break" title={`s3://${bucket}/${prefix}`}>
          {name}/
        </span>
        <span class="cs-hint">{words}</span>
        {phase === "deleting" && <Progress label={trans.__("Deletion of %1", name)} value={known ? deleted / objects : null} />}
        {problem && (
          <span class="cs-hint cs-wrong" role="alert">
            {problem.message} {problem.hint}
          </span>
        )}
        {refused.length > 0 && (
          <details>
            <summary>{refused.length < left ? trans.__("What was kept, and why: the first %1", refused.length) : trans.__("What was kept, and why")}</summary>
            <ul class="cs-plain-list">
              {refused.map(({ key, why }) => (
                <li key={key} class="cs-break">
                  {key.slice(prefix.length)}: <span class="cs-soft">{why}</span>
                </li>
              ))}
            </ul>
          </details>
        )}
      </div>
      <div class="cs-actions">
        {phase === "deleting" ? (
          <Button aria-label={trans.__("Stop deleting %1", name)} onClick={() => deletions.stop(id)}>
            {trans.__("Stop")}
          </Button>
        ) : (
          <>
            {phase !== "done" && (
              <Button kind="danger" aria-label={trans.__("Delete the rest of %1", name)} onClick={() => deletions.again(id)}>
                {trans.__("Delete the rest")}
              </Button>
            )}
            <IconButton icon="close" label={trans.__("Take %1 from the list", name)} onClick={() => deletions.remove(id)} />
          </>
        )}
      </div>
    </li>
  );
}
