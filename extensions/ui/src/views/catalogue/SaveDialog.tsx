/** A name for a search that is kept. */

import { useState } from "preact/hooks";
import { Button, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { useTranslation } from "../../i18n";
import { useSession } from "../../state/hooks";
import { formStore } from "./form";
import { savedOf } from "./library";
import { catalogueUi } from "./ui-state";

export function SaveDialog({ onClose }: { onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const saved = savedOf(session);
  const [name, setName] = useState("");
  const known = saved.get().some((search) => search.name === name.trim());
  const save = () => {
    if (!name.trim()) return;
    const search = {
      id: crypto.randomUUID(),
      name: name.trim(),
      form: formStore(session).get(),
      area: session.area.get(),
      datetime: session.datetime.get(),
    };
    saved.set((before) => [search, ...before.filter((other) => other.name !== search.name)]);
    session.say(trans.__("%1 is saved.", search.name), "success");
    catalogueUi(session).pane.set("saved");
    onClose();
  };
  return (
    <Dialog
      title={trans.__("Save this search")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" disabled={!name.trim()} onClick={save}>
            {known ? trans.__("Replace") : trans.__("Save")}
          </Button>
        </>
      }
    >
      <TextField
        label={trans.__("Name")}
        value={name}
        onValue={setName}
        onEnter={save}
        hint={known ? trans.__("A search of this name is there; it is replaced.") : trans.__("Area, collections, dates and conditions are kept, not the results.")}
      />
    </Dialog>
  );
}
