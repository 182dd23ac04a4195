/** The gallery: what members of the person's VOs have published, the newest first. */

import { useMemo, useState } from "preact/hooks";
import type { Entry, Gallery } from "../../api/schema";
import { Button, Checkbox, IconButton, SelectField, TextField } from "../../design/controls";
import { Badge, Empty, Note, ProblemNote, Waiting } from "../../design/feedback";
import { moment } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useAsked, usePages, useSession, useStore } from "../../state/hooks";
import { NotebookPicture } from "./NotebookPicture";
import { PublishDialog } from "./PublishDialog";
import { shelfOf } from "./shelf";

const PAGE = 24;
const TYPED = 300;

/** What is shared, as far as it was asked for. */
function useGallery(text: string, vo: string, mine: boolean, turn: number) {
  const { api } = useSession();
  const { pages, ...asked } = usePages<Gallery>(
    [text, vo, mine, turn],
    (before, signal) => api.get("/shared/notebooks", { query: { text, vo, mine, offset: before?.next ?? 0, limit: PAGE }, signal }),
    text ? TYPED : 0,
  );
  const last = pages.at(-1);
  const gallery = useMemo(() => last && { ...last, notebooks: pages.flatMap(({ notebooks }) => notebooks) }, [pages]);
  return { gallery, ...asked };
}

export function GalleryPane() {
  const trans = useTranslation();
  const session = useSession();
  const shelf = shelfOf(session);
  const [text, vo, mine] = [useStore(shelf.text), useStore(shelf.vo), useStore(shelf.mine)];
  const { gallery, waiting, problem, again, more, retry } = useGallery(text, vo, mine, useStore(shelf.changed));
  const site = useAsked([session], (signal) => session.api.get("/site", { signal }));
  const [publishing, setPublishing] = useState(false);
  const vos = site.value?.vos ?? [];
  const filtered = text !== "" || vo !== "" || mine;
  const publish = gallery && gallery.publish.length > 0 && (
    <Button icon="upload" kind="primary" onClick={() => setPublishing(true)}>
      {trans.__("Publish a notebook…")}
    </Button>
  );
  return (
    <div class="cs-shared-scroll">
      <header class="cs-shared-tools">
        <TextField quiet type="search" label={trans.__("Search in titles, descriptions and authors")} placeholder={trans.__("Search")} value={text} onValue={(value) => shelf.text.set(value.slice(0, 200))} />
        {vos.length > 1 && (
          <SelectField quiet label={trans.__("Virtual organisation")} value={vo} options={[["", trans.__("All organisations")], ...vos.map((each) => [each, each] as const)]} onValue={(value) => shelf.vo.set(value)} />
        )}
        <Checkbox checked={mine} onChecked={(on) => shelf.mine.set(on)} label={trans.__("Only mine")} />
        <IconButton icon="refresh" label={trans.__("Look again")} disabled={waiting} onClick={again} />
        <span class="cs-spacer" />
        {publish}
      </header>
      {problem && <ProblemNote problem={problem} retry={retry} />}
      {Object.entries(gallery?.failed ?? {}).map(([name, why]) => (
        <Note key={name} tone="warning" title={trans.__("The notebooks of %1 cannot be looked at now.", name)}>
          {why}
        </Note>
      ))}
      {!gallery && waiting && <Waiting>{trans.__("Looking what is shared…")}</Waiting>}
      {gallery && !gallery.notebooks.length && !problem && (
        <Empty
          icon="shared"
          title={filtered ? trans.__("No shared notebook fits") : trans.__("Nothing is shared yet")}
          actions={
            filtered ? (
              <Button
                onClick={() => {
                  shelf.text.set("");
                  shelf.vo.set("");
                  shelf.mine.set(false);
                }}
              >
                {trans.__("Show all")}
              </Button>
            ) : undefined
          }
        >
          {filtered ? "" : trans.__("A notebook that you publish can be found, looked at and opened by all members of your virtual organisation.")}
        </Empty>
      )}
      {gallery && gallery.notebooks.length > 0 && (
        <>
          <p class="cs-hint" role="status">
            {trans._n("%1 notebook", "%1 notebooks", gallery.total)}
          </p>
          <ul class="cs-plain-list cs-gallery">
            {gallery.notebooks.map((entry) => (
              <Card key={entry.ref} entry={entry} />
            ))}
          </ul>
          {gallery.next !== null && (
            <Button disabled={waiting} onClick={more}>
              {trans.__("Show more")}
            </Button>
          )}
        </>
      )}
      {publishing && gallery && <PublishDialog vos={gallery.publish} onClose={() => setPublishing(false)} />}
    </div>
  );
}

function Card({ entry }: { entry: Entry }) {
  const trans = useTranslation();
  const shelf = shelfOf(useSession());
  const { ref, title, description, author, author_name, vo, date, version, versions, outputs, mine } = entry;
  return (
    <li class="cs-leaf">
      <button type="button" class="cs-leaf-main" onClick={() => shelf.open.set(ref)}>
        <NotebookPicture entry={entry} />
        <span class="cs-leaf-text">
          <strong class="cs-break">{title}</strong>
          <span class="cs-break">{trans.__("by %1", author_name || author)}</span>
          <span class="cs-hint cs-break">
            {vo}
            {date && ` · ${moment(date)}`}
          </span>
          {description && <span class="cs-leaf-description">{description}</span>}
        </span>
      </button>
      <div class="cs-actions cs-leaf-badges">
        {mine && <Badge>{trans.__("yours")}</Badge>}
        {versions > 1 && <Badge tone="plain">{trans.__("version %1", version)}</Badge>}
        {!outputs && <Badge tone="plain">{trans.__("without outputs")}</Badge>}
      </div>
    </li>
  );
}
