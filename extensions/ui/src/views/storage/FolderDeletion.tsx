/** Before a folder is deleted: what is in it, and who else has it. */

import { useEffect } from "preact/hooks";
import type { StoragePlace } from "../../api/schema";
import { Button } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Note, ProblemNote, Waiting } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { deletionsOf } from "./deletions";
import { placeKey, usageOf } from "./usage";
import { nameOf, type Where } from "./where";

interface FolderDeletionProps {
  where: Where;
  place: StoragePlace;
  onClose: () => void;
  onBegun: () => void;
}

export function FolderDeletion({ where: { bucket, prefix }, place: { purpose, vo }, onClose, onBegun }: FolderDeletionProps) {
  const trans = useTranslation();
  const session = useSession();
  const usage = usageOf(session);
  const count = useStore(usage.counts, (all) => all[placeKey(bucket, prefix)]);
  const look = () => void usage.count(bucket, prefix);
  useEffect(() => {
    look();
    return () => usage.stop(bucket, prefix);
  }, [bucket, prefix]);
  const whole = count?.whole;
  const held = count && trans._n("%1 file, %2", "%1 files, %2", count.objects, bytes(count.size));
  return (
    <Dialog
      title={trans.__("Delete the folder %1?", nameOf(prefix))}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Keep it")}</Button>
          <Button
            kind="danger"
            icon="bin"
            disabled={!whole}
            onClick={() => {
              deletionsOf(session).begin(bucket, prefix);
              onClose();
              onBegun();
            }}
          >
            {whole?.objects ? trans._n("Delete %1 file", "Delete %1 files", whole.objects) : trans.__("Delete")}
          </Button>
        </>
      }
    >
      <p class="cs-mono cs-break">
        s3://{bucket}/{prefix}
      </p>
      {count?.counting && <Waiting>{trans.__("Looking what is in it: %1 so far", held)}</Waiting>}
      {whole && (
        <p>
          <strong>{!whole.objects ? trans.__("It is empty.") : whole.complete ? trans.__("In it: %1.", held) : trans.__("In it: at least %1.", held)}</strong>
        </p>
      )}
      <p>{trans.__("All of it goes from the bucket for everybody who can read it, and cannot be brought back. Catalogue entries that name it stay, and so does what arrives while it is being deleted.")}</p>
      {purpose !== "home" && <Note tone="warning">{trans.__("This is not yours alone: other members of %1 may be working with it.", vo)}</Note>}
      {count?.problem && <ProblemNote problem={count.problem} retry={look} />}
    </Dialog>
  );
}
