/** The uploads of this page, below whatever is shown. */

import { useRef, useState } from "preact/hooks";
import { Button, IconButton } from "../../design/controls";
import { Progress } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { uploadsOf, type UploadEntry } from "./uploads";
import { nameOf } from "./where";

export function UploadTray() {
  const trans = useTranslation();
  const uploads = uploadsOf(useSession());
  const list = useStore(uploads.list);
  if (!list.length) return null;
  const left = list.filter(({ phase }) => phase !== "done");
  const [sent, size] = [list.reduce((sum, each) => sum + each.sent, 0), list.reduce((sum, each) => sum + each.size, 0)];
  return (
    <section class="cs-tray" aria-label={trans.__("Uploads")}>
      <header class="cs-storage-head">
        <h3>
          {left.length
            ? trans._n("%1 upload, %2 of %3", "%1 uploads, %2 of %3", left.length, bytes(sent), bytes(size))
            : trans._n("%1 file was uploaded", "%1 files were uploaded", list.length)}
        </h3>
        <span class="cs-spacer" />
        {left.length < list.length && (
          <Button kind="quiet" onClick={() => uploads.tidy()}>
            {trans.__("Clear what is done")}
          </Button>
        )}
      </header>
      <ul class="cs-plain-list">
        {list.map((entry) => (
          <Line key={entry.id} entry={entry} />
        ))}
      </ul>
    </section>
  );
}

function Line({ entry }: { entry: UploadEntry }) {
  const trans = useTranslation();
  const uploads = uploadsOf(useSession());
  const chooser = useRef<HTMLInputElement>(null);
  const [other, setOther] = useState(false);
  const { id, key, size, sent, phase, problem } = entry;
  const name = nameOf(key);
  const words = {
    waiting: trans.__("waits for its turn"),
    sending: trans.__("%1 of %2", bytes(sent), bytes(size)),
    paused: trans.__("paused at %1 of %2", bytes(sent), bytes(size)),
    failed: trans.__("stopped at %1 of %2", bytes(sent), bytes(size)),
    exists: trans.__("There is a file of this name already."),
    "without-file": trans.__("%1 of %2 have arrived. Choose the same file again to go on.", bytes(sent), bytes(size)),
    done: trans.__("%1, done", bytes(size)),
  }[phase];
  return (
    <li class="cs-tray-line">
      <div class="cs-tray-text">
        <span class="cs-break" title={`s3://${entry.bucket}/${key}`}>
          {name}
        </span>
        <span class="cs-hint">{words}</span>
        {(phase === "sending" || phase === "paused" || phase === "failed" || phase === "without-file") && (
          <Progress label={trans.__("Upload of %1", name)} value={size ? sent / size : 1} />
        )}
        {phase === "failed" && problem && (
          <span class="cs-hint cs-wrong" role="alert">
            {problem.message} {problem.hint}
          </span>
        )}
        {other && (
          <span class="cs-hint cs-wrong" role="alert">
            {trans.__("That is another file, or it was changed since: its size or its date differs.")}
          </span>
        )}
      </div>
      <div class="cs-actions">
        {(phase === "sending" || phase === "waiting") && <IconButton icon="pause" label={trans.__("Pause %1", name)} onClick={() => uploads.pause(id)} />}
        {phase === "paused" && <IconButton icon="play" label={trans.__("Go on with %1", name)} onClick={() => uploads.resume(id)} />}
        {phase === "failed" && (
          <Button icon="refresh" aria-label={trans.__("Try %1 again", name)} onClick={() => uploads.resume(id)}>
            {trans.__("Try again")}
          </Button>
        )}
        {phase === "exists" && (
          <Button aria-label={trans.__("Replace %1", name)} onClick={() => uploads.resume(id, true)}>
            {trans.__("Replace it")}
          </Button>
        )}
        {phase === "without-file" && (
          <>
            <Button aria-label={trans.__("Choose %1 again", name)} onClick={() => chooser.current?.click()}>
              {trans.__("Choose…")}
            </Button>
            <input
              ref={chooser}
              type="file"
              hidden
              aria-label={trans.__("File for %1", name)}
              onChange={(event) => {
                const file = event.currentTarget.files?.[0];
                if (file) setOther(!uploads.choose(id, file));
                event.currentTarget.value = "";
              }}
            />
          </>
        )}
        <IconButton
          icon="close"
          label={phase === "done" ? trans.__("Take %1 from the list", name) : trans.__("Give up the upload of %1", name)}
          onClick={() => uploads.remove(id)}
        />
      </div>
    </li>
  );
}
