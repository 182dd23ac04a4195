/** One object: where it is, a link to it, its picture on the map, deleting it. */

import { useState } from "preact/hooks";
import type { StorageObject, StoragePlace } from "../../api/schema";
import { Button, IconButton } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { ProblemNote } from "../../design/feedback";
import { bytes, moment } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useSending, useSession } from "../../state/hooks";
import { LinkDialog } from "./LinkDialog";
import { ObjectMap } from "./ObjectMap";
import { nameOf } from "./where";

interface ObjectDetailsProps {
  bucket: string;
  object: StorageObject;
  place: StoragePlace | undefined;
  shown: boolean;
  onClose: () => void;
  onDeleted: () => void;
}

export function ObjectDetails({ bucket, object, place, shown, onClose, onDeleted }: ObjectDetailsProps) {
  const trans = useTranslation();
  const session = useSession();
  const [dialog, setDialog] = useState<"link" | "delete" | null>(null);
  const [mapped, setMapped] = useState(false);
  const { key, size, modified, layer } = object;
  const name = nameOf(key);
  const addresses = [`s3://${bucket}/${key}`];
  if (place?.mount?.state === "ok") addresses.push(`${place.mount.path.replace(/\/$/, "")}/${key.slice(place.prefix.length)}`);
  const copy = async (text: string) => {
    try {
      await navigator.clipboard.writeText(text);
      session.say(trans.__("Copied."), "success");
    } catch {
      session.say(trans.__("The browser did not let it be copied."), "error");
    }
  };
  return (
    <section class="cs-object-details" aria-label={trans.__("Details of %1", name)}>
      <header class="cs-storage-head">
        <h3 class="cs-break">{name}</h3>
        <span class="cs-spacer" />
        <IconButton icon="close" label={trans.__("Close the details")} onClick={onClose} />
      </header>
      <p>
        {bytes(size)}
        {modified && <span class="cs-soft"> · {trans.__("changed %1", moment(modified))}</span>}
      </p>
      <ul class="cs-plain-list">
        {addresses.map((address) => (
          <li key={address} class="cs-object-address">
            <span class="cs-mono cs-break">{address}</span>
            <IconButton icon="copy" label={trans.__("Copy %1", address)} onClick={() => void copy(address)} />
          </li>
        ))}
      </ul>
      <div class="cs-actions">
        {layer && (
          <Button icon="layers" aria-pressed={mapped} onClick={() => setMapped(!mapped)}>
            {trans.__("Show on map")}
          </Button>
        )}
        <Button icon="share" onClick={() => setDialog("link")}>
          {trans.__("Make a link…")}
        </Button>
        {place?.access === "rw" && (
          <Button icon="bin" kind="danger" onClick={() => setDialog("delete")}>
            {trans.__("Delete…")}
          </Button>
        )}
      </div>
      {layer && mapped && <ObjectMap layer={layer} name={name} shown={shown} />}
      {dialog === "link" && <LinkDialog bucket={bucket} objectKey={key} onClose={() => setDialog(null)} />}
      {dialog === "delete" && <DeleteDialog bucket={bucket} objectKey={key} onClose={() => setDialog(null)} onDeleted={onDeleted} />}
    </section>
  );
}

interface DeleteDialogProps {
  bucket: string;
  objectKey: string;
  onClose: () => void;
  onDeleted: () => void;
}

function DeleteDialog({ bucket, objectKey: key, onClose, onDeleted }: DeleteDialogProps) {
  const trans = useTranslation();
  const session = useSession();
  const { sending, problem, send } = useSending();
  const remove = () =>
    send(async () => {
      await session.api.delete("/storage/objects", { query: { bucket, key } });
      session.say(trans.__("%1 was deleted.", nameOf(key)), "success");
      onDeleted();
    });
  return (
    <Dialog
      title={trans.__("Delete %1?", nameOf(key))}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Keep it")}</Button>
          <Button kind="danger" icon="bin" disabled={sending} onClick={() => void remove()}>
            {trans.__("Delete")}
          </Button>
        </>
      }
    >
      <p>{trans.__("It goes from the bucket for everybody who can read it, and cannot be brought back. Catalogue entries that name it stay.")}</p>
      <p class="cs-mono cs-break">
        s3://{bucket}/{key}
      </p>
      {problem && <ProblemNote problem={problem} retry={() => void remove()} />}
    </Dialog>
  );
}
