/** One shared notebook: where it comes from, its versions, a preview in which nothing runs, and opening it. */

import { useState } from "preact/hooks";
import { Button, SelectField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { ProblemNote, Waiting } from "../../design/feedback";
import { moment } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useAsked, useSending, useSession } from "../../state/hooks";
import { PreviewCells } from "./PreviewCells";
import { shelfOf } from "./shelf";

export function NotebookPane({ reference: notebook }: { reference: string }) {
  const trans = useTranslation();
  const session = useSession();
  const { api, host } = session;
  const shelf = shelfOf(session);
  const [version, setVersion] = useState<number | undefined>();
  const path = { notebook };
  const shown = useAsked([notebook, version], (signal) => api.get("/shared/notebooks/{notebook}", { path, query: { version }, signal }));
  const versions = useAsked([notebook], (signal) => api.get("/shared/notebooks/{notebook}/versions", { path, signal }));
  const { sending: busy, problem, send } = useSending();
  const [made, setMade] = useState("");
  const [removing, setRemoving] = useState(false);
  const entry = shown.value?.notebook;
  const close = () => shelf.open.set("");

  const open = () =>
    send(async () => {
      const copied = await api.post("/shared/notebooks/{notebook}/copies", { path, body: { version: version ?? null } });
      setMade(copied.path);
      session.say(trans.__("Your own copy is %1.", copied.path), "success");
      await host.openPath?.(copied.path);
    });
  const copyLink = () =>
    send(async () => {
      const { url } = await api.get("/shared/notebooks/{notebook}/link", { path, query: { version } });
      try {
        await navigator.clipboard.writeText(new URL(url, location.href).href);
        session.say(trans.__("The link was copied. It opens the notebook for members of %1, after they have signed in.", entry?.vo), "success");
      } catch {
        session.say(trans.__("The browser did not let it be copied: %1", url), "error");
      }
    });

  return (
    <div class="cs-shared-scroll">
      <div class="cs-actions cs-shared-back">
        <Button kind="quiet" icon="left" onClick={close}>
          {trans.__("All notebooks")}
        </Button>
      </div>
      {shown.problem && <ProblemNote problem={shown.problem} retry={shown.retry} />}
      {!entry && shown.waiting && <Waiting>{trans.__("Loading the preview…")}</Waiting>}
      {entry && shown.value && (
        <article class="cs-notebook" aria-label={entry.title}>
          <header class="cs-notebook-head">
            <h2 class="cs-break">{entry.title}</h2>
            <p class="cs-soft cs-break">
              {trans.__("by %1 in %2", entry.author_name || entry.author, entry.vo)}
              {entry.date && `, ${moment(entry.date)}`}
            </p>
            {entry.description && <p class="cs-notebook-description">{entry.description}</p>}
            <div class="cs-actions cs-notebook-actions">
              <Button kind="primary" icon="open" disabled={busy} onClick={() => void open()}>
                {trans.__("Open a copy")}
              </Button>
              <Button icon="copy" disabled={busy} onClick={() => void copyLink()}>
                {trans.__("Copy link")}
              </Button>
              {entry.may_remove && (
                <Button icon="bin" kind="danger" disabled={busy} onClick={() => setRemoving(true)}>
                  {trans.__("Take down…")}
                </Button>
              )}
              {(versions.value?.versions.length ?? 0) > 1 && (
                <SelectField
                  quiet
                  label={trans.__("Version")}
                  value={String(entry.version)}
                  options={(versions.value?.versions ?? []).map((each) => [String(each.version), trans.__("Version %1, %2", each.version, moment(each.date))] as const)}
                  onValue={(value) => setVersion(Number(value))}
                />
              )}
            </div>
            {made && !host.openPath && <p role="status">{trans.__("Your own copy is %1 in the file browser.", made)}</p>}
            {problem && <ProblemNote problem={problem} />}
            {versions.problem && <ProblemNote problem={versions.problem} retry={versions.retry} />}
            {shown.value.provenance && (
              <details>
                <summary>{trans.__("Where it comes from")}</summary>
                <dl class="cs-provenance">
                  {(
                    [
                      [trans.__("File"), shown.value.provenance.source],
                      [trans.__("Made with"), shown.value.provenance.image],
                      [trans.__("Began as a copy of"), shown.value.provenance.opened_from],
                      [trans.__("SHA-256 of the file"), shown.value.provenance.source_sha256],
                    ] as const
                  ).map(([name, value]) =>
                    value ? (
                      <div key={name}>
                        <dt class="cs-label">{name}</dt>
                        <dd class="cs-break">{value}</dd>
                      </div>
                    ) : null,
                  )}
                </dl>
              </details>
            )}
          </header>
          <PreviewCells preview={shown.value.preview} />
        </article>
      )}
      {removing && entry && (
        <RemoveDialog
          notebook={notebook}
          title={entry.title}
          version={entry.version}
          versions={entry.versions}
          onClose={() => setRemoving(false)}
          onRemoved={(all) => {
            shelf.changed.set((count) => count + 1);
            if (all) close();
            else {
              setRemoving(false);
              setVersion(undefined);
              versions.retry();
              shown.retry();
            }
          }}
        />
      )}
    </div>
  );
}

interface RemoveDialogProps {
  notebook: string;
  title: string;
  version: number;
  versions: number;
  onClose: () => void;
  onRemoved: (all: boolean) => void;
}

function RemoveDialog({ notebook, title, version, versions, onClose, onRemoved }: RemoveDialogProps) {
  const trans = useTranslation();
  const session = useSession();
  const { sending, problem, send } = useSending();
  const remove = (only: number | undefined) =>
    send(async () => {
      await session.api.delete("/shared/notebooks/{notebook}", { path: { notebook }, query: { version: only } });
      session.say(only === undefined ? trans.__("%1 was taken down.", title) : trans.__("Version %1 of %2 was taken down.", only, title), "success");
      onRemoved(only === undefined);
    });
  return (
    <Dialog
      title={trans.__("Take “%1” down?", title)}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Keep it")}</Button>
          {versions > 1 && (
            <Button kind="danger" icon="bin" disabled={sending} onClick={() => void remove(version)}>
              {trans.__("Take version %1 down", version)}
            </Button>
          )}
          <Button kind="danger" icon="bin" disabled={sending} onClick={() => void remove(undefined)}>
            {versions > 1 ? trans.__("Take all %1 versions down", versions) : trans.__("Take down")}
          </Button>
        </>
      }
    >
      <p>{trans.__("Nobody finds it any more, and links to it end. Copies that others have opened stay theirs; your own notebook stays where it is.")}</p>
      {problem && <ProblemNote problem={problem} />}
    </Dialog>
  );
}
