/** Which notebook: one of the home folder, the one that was changed last first, or the path of another. */

import { useState } from "preact/hooks";
import { TextField } from "../../design/controls";
import { ProblemNote, Waiting } from "../../design/feedback";
import { moment } from "../../design/figures";
import { Icon } from "../../design/icons";
import { VirtualList } from "../../design/virtual-list";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";

/** @param onChosen is given its path in the file browser; empty: none is chosen any more. */
export function NotebookChooser({ onChosen }: { onChosen: (path: string) => void }) {
  const trans = useTranslation();
  const { api } = useSession();
  const { value, problem, waiting, retry } = useAsked([api], (signal) => api.get("/shared/own-notebooks", { signal }));
  const [text, setText] = useState("");
  const [active, setActive] = useState<string | null>(null);
  const [chosen, setChosen] = useState("");
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const own = value?.notebooks ?? [];
  const found = own.filter(({ path }) => words.every((word) => path.toLowerCase().includes(word)));
  const choose = (path: string) => {
    setChosen(path);
    onChosen(path);
  };
  const type = (typed: string) => {
    setText(typed);
    const path = typed.trim().replace(/^\/+/, "");
    choose(path.endsWith(".ipynb") ? path : "");
  };
  return (
    <div class="cs-chooser">
      <TextField
        label={trans.__("Notebook")}
        type="search"
        value={text}
        onValue={type}
        placeholder={trans.__("Search in names and folders")}
        hint={trans.__("What was saved last is published. For one that is not listed, such as in a bucket, paste its path (“Copy Path” in the file browser).")}
      />
      {problem && <ProblemNote problem={problem} retry={retry} />}
      {waiting && !value && <Waiting>{trans.__("Looking for your notebooks…")}</Waiting>}
      {found.length > 0 && (
        <div class="cs-chooser-list">
          <VirtualList
            label={trans.__("Your notebooks")}
            items={found}
            rowHeight={30}
            keyOf={({ path }) => path}
            active={active}
            onActive={setActive}
            isSelected={({ path }) => path === chosen}
            onOpen={({ path }) => choose(path)}
            row={({ path, modified }) => {
              const at = path.lastIndexOf("/") + 1;
              return (
                <div class="cs-chooser-row" title={path}>
                  <Icon name={path === chosen ? "check" : "file"} />
                  <span class="cs-chooser-name">{path.slice(at)}</span>
                  <span class="cs-chooser-folder cs-soft">{path.slice(0, at)}</span>
                  <span class="cs-soft">{moment(modified)}</span>
                </div>
              );
            }}
          />
        </div>
      )}
      {value && !own.length && <p class="cs-hint">{trans.__("There is no notebook in your home folder yet.")}</p>}
      {own.length > 0 && !found.length && !chosen && <p class="cs-hint">{trans.__("No notebook of yours has that in its name or folder.")}</p>}
      {value && !value.complete && <p class="cs-hint">{trans.__("Not all of your folders were looked through: those above were changed last.")}</p>}
    </div>
  );
}
