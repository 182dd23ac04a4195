/** A search that a colleague gave, as text. */

import { useState } from "preact/hooks";
import { ApiProblem, asProblem } from "../../api/problem";
import { Button, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { useTranslation } from "../../i18n";
import { useSession } from "../../state/hooks";
import { libraryOf } from "./library";

export function SharedDialog({ onClose }: { onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const [text, setText] = useState("");
  const [problem, setProblem] = useState("");
  const take = async () => {
    try {
      const name = await libraryOf(session).take(text);
      session.say(trans.__("%1 is saved.", name), "success");
      onClose();
    } catch (thrown) {
      const found = asProblem(thrown);
      setProblem(thrown instanceof ApiProblem ? `${found.message} ${found.hint}` : trans.__("This is no search: the JSON cannot be read."));
    }
  };
  return (
    <Dialog
      title={trans.__("Add a search that was shared")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" disabled={!text.trim()} onClick={() => void take()}>
            {trans.__("Add")}
          </Button>
        </>
      }
    >
      <TextField
        label={trans.__("What your colleague copied with “Copy as text”")}
        lines={8}
        value={text}
        problem={problem}
        onValue={(value) => {
          setText(value);
          setProblem("");
        }}
      />
    </Dialog>
  );
}
