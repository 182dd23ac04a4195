/** A name for a search that is kept. */

import { useEffect, useState } from "preact/hooks";
import { Button, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { ProblemNote } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useSending, useSession, useStore } from "../../state/hooks";
import { libraryOf } from "./library";
import { catalogueUi } from "./ui-state";

export function SaveDialog({ onClose }: { onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const library = libraryOf(session);
  const searches = useStore(library.state, (state) => state.searches);
  const [name, setName] = useState("");
  const { sending, problem, send } = useSending();
  const known = searches.some((search) => search.name === name.trim());
  useEffect(() => void library.load(), [library]);
  const save = async () => {
    if (!name.trim() || sending) return;
    await send(async () => {
      await library.save(name.trim());
      session.say(trans.__("%1 is saved.", name.trim()), "success");
      catalogueUi(session).pane.set("saved");
      onClose();
    });
  };
  return (
    <Dialog
      title={trans.__("Save this search")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" disabled={!name.trim() || sending} onClick={() => void save()}>
            {known ? trans.__("Replace") : trans.__("Save")}
          </Button>
        </>
      }
    >
      <TextField
        label={trans.__("Name")}
        value={name}
        onValue={(text) => setName(text.slice(0, 200))}
        onEnter={() => void save()}
        hint={known ? trans.__("A search of this name is there; it is replaced.") : trans.__("Area, collections, dates and conditions are kept, not the results.")}
      />
      {problem && <ProblemNote problem={problem} />}
    </Dialog>
  );
}
