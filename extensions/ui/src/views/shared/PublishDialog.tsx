/** Publish a notebook of the file browser: which, under what title, with its outputs or without. */

import { useState } from "preact/hooks";
import type { ApiProblem } from "../../api/problem";
import { Button, Checkbox, SelectField, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Note, ProblemNote } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useSending, useSession } from "../../state/hooks";
import { NotebookChooser } from "./NotebookChooser";
import { shelfOf } from "./shelf";

interface Finding {
  place: string;
  line: number;
  kind: string;
}

/** The places of what looks like secrets, in a refusal; null: it was refused for something else. */
function findingsOf({ details: { findings } }: ApiProblem): Finding[] | null {
  return Array.isArray(findings) && findings.length ? (findings as Finding[]) : null;
}

/** A title for a notebook, after the name of its file. */
function titleOf(path: string): string {
  const name = (path.split("/").pop() ?? "").replace(/\.ipynb$/, "").replace(/[_-]+/g, " ").trim();
  return name.charAt(0).toUpperCase() + name.slice(1);
}

export function PublishDialog({ vos, onClose }: { vos: readonly string[]; onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const shelf = shelfOf(session);
  const [path, setPath] = useState("");
  const [title, setTitle] = useState("");
  /** Whether the title is what somebody wrote. */
  const [titled, setTitled] = useState(false);
  const [description, setDescription] = useState("");
  const [vo, setVo] = useState(vos[0] ?? "");
  const [outputs, setOutputs] = useState(false);
  const { sending, problem, send, forget } = useSending();
  const findings = problem && findingsOf(problem);
  const publish = () =>
    send(async () => {
      const entry = await session.api.post("/shared/notebooks", { body: { path, vo, title: title.trim(), description: description.trim(), outputs } });
      session.say(trans.__("“%1” was published in %2, version %3.", entry.title, entry.vo, entry.version), "success");
      shelf.changed.set((count) => count + 1);
      shelf.open.set(entry.ref);
      onClose();
    });
  return (
    <Dialog
      title={trans.__("Publish a notebook")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" icon="upload" disabled={sending || !path || !title.trim() || !vo} onClick={() => void publish()}>
            {sending ? trans.__("Looking through it…") : trans.__("Publish")}
          </Button>
        </>
      }
    >
      <NotebookChooser
        onChosen={(chosen) => {
          setPath(chosen);
          forget();
          if (!titled) setTitle(titleOf(chosen));
        }}
      />
      <TextField label={trans.__("Title")} value={title} onValue={(value) => { setTitle(value.slice(0, 200)); setTitled(value !== ""); }} hint={trans.__("The same title again is the next version of it.")} />
      <TextField label={trans.__("What it shows (optional)")} lines={3} value={description} onValue={(value) => setDescription(value.slice(0, 2000))} />
      {vos.length > 1 ? (
        <SelectField label={trans.__("For the members of")} value={vo} options={vos.map((each) => [each, each] as const)} onValue={setVo} />
      ) : (
        <p>
          {trans.__("For the members of")} <strong>{vo}</strong>
        </p>
      )}
      <Checkbox checked={outputs} onChecked={setOutputs} label={trans.__("Keep the outputs; without this they are taken out")} />
      {findings ? (
        <Note tone="error" title={trans.__("Nothing was published: the notebook holds what looks like secrets.")}>
          <ul class="cs-findings">
            {findings.slice(0, 20).map(({ place, line, kind }, index) => (
              <li key={index}>{trans.__("%1: %2, line %3", kind, place, line)}</li>
            ))}
          </ul>
          {problem?.hint}
        </Note>
      ) : (
        problem && <ProblemNote problem={problem} />
      )}
    </Dialog>
  );
}
