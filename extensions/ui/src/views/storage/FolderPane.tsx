/** What lies in a folder, and bringing files into it. */

import { useMemo, useRef, useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import type { StorageFolder, StorageObject } from "../../api/schema";
import { Button, IconButton, TextField } from "../../design/controls";
import { Empty, Note, ProblemNote, Waiting } from "../../design/feedback";
import { bytes, moment } from "../../design/figures";
import { Icon } from "../../design/icons";
import { VirtualList } from "../../design/virtual-list";
import { useTranslation } from "../../i18n";
import { useAsked, usePages, useSession, useStore } from "../../state/hooks";
import { chosenFiles, filesOf } from "./dropped";
import { deletionsOf } from "./deletions";
import { FolderDeletion } from "./FolderDeletion";
import { ObjectDetails } from "./ObjectDetails";
import { uploadsOf } from "./uploads";
import { nameOf, placeTitle, trail, whereOf, type Where } from "./where";

type Row = { key: string; object: StorageObject | null };

/** What lies in a folder, as far as it was asked for. */
function useFolder({ bucket, prefix }: Where, turn: number) {
  const { api } = useSession();
  const { pages, ...asked } = usePages<StorageFolder>([turn], (before, signal) =>
    api.get("/storage/objects", { query: { bucket, prefix, after: before?.next ?? "", limit: 500 }, signal }),
  );
  const rows = useMemo(
    () =>
      pages.flatMap(({ folders, objects }): Row[] => [...folders.map((key) => ({ key, object: null })), ...objects.map((object) => ({ key: object.key, object }))]),
    [pages],
  );
  return { rows, next: pages.at(-1)?.next ?? "", known: pages.length > 0, ...asked };
}

export function FolderPane({ where, shown }: { where: Where; shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const uploads = uploadsOf(session);
  const at = whereOf(session);
  const changes = useStore(uploads.arrived) + useStore(deletionsOf(session).ended);
  const { rows, next, waiting, problem, known, more, again, retry } = useFolder(where, changes);
  const places = useAsked([session], (signal) => session.api.get("/storage/places", { signal }));
  const place = places.value?.places.find(({ bucket, prefix }) => bucket === where.bucket && prefix === where.root);
  const [filter, setFilter] = useState("");
  const [active, setActive] = useState<string | null>(null);
  const [open, setOpen] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const chooser = useRef<HTMLInputElement>(null);
  const writable = place?.access === "rw";
  const wanted = filter.trim().toLowerCase();
  const visible = wanted ? rows.filter(({ key }) => nameOf(key).toLowerCase().includes(wanted)) : rows;
  const chosen = rows.find(({ key, object }) => key === open && object)?.object;
  const go = (prefix: string) => at.set({ ...where, prefix });

  return (
    <div
      class={over ? "cs-folder cs-folder-over" : "cs-folder"}
      onDragOver={(event) => {
        if (!writable || !event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        event.stopPropagation();
        setOver(true);
      }}
      onDragLeave={(event) => !event.currentTarget.contains(event.relatedTarget as Node | null) && setOver(false)}
      onDrop={(event) => {
        if (!writable || !event.dataTransfer) return;
        event.preventDefault();
        event.stopPropagation();
        setOver(false);
        filesOf(event.dataTransfer).then(
          (files) => uploads.add(where.bucket, where.prefix, files),
          (thrown: unknown) => session.say(asProblem(thrown).message, "error"),
        );
      }}
    >
      <header class="cs-folder-head">
        <nav aria-label={trans.__("Path")} class="cs-trail">
          <button type="button" class="cs-text-button" onClick={() => at.set(null)}>
            {trans.__("Places")}
          </button>
          <Crumb last={where.prefix === where.root} name={place ? placeTitle(place, trans) : `${where.bucket}/${where.root}`} go={() => go(where.root)} />
          {trail(where).map(({ name, prefix }) => (
            <Crumb key={prefix} last={prefix === where.prefix} name={name} go={() => go(prefix)} />
          ))}
        </nav>
        <div class="cs-folder-tools">
          <TextField quiet type="search" label={trans.__("Filter by name")} placeholder={trans.__("Filter by name")} value={filter} onValue={setFilter} />
          <IconButton icon="refresh" label={trans.__("Look again")} disabled={waiting} onClick={again} />
          {writable && where.prefix !== where.root && (
            <IconButton icon="bin" label={trans.__("Delete this folder…")} onClick={() => setDeleting(true)} />
          )}
          <Button icon="upload" kind="primary" disabled={!writable} onClick={() => chooser.current?.click()}>
            {trans.__("Upload…")}
          </Button>
          <input
            ref={chooser}
            type="file"
            multiple
            hidden
            aria-label={trans.__("Files to upload")}
            onChange={(event) => {
              uploads.add(where.bucket, where.prefix, chosenFiles(event.currentTarget.files));
              event.currentTarget.value = "";
            }}
          />
        </div>
        {place && !writable && <p class="cs-hint">{trans.__("This place may only be read.")}</p>}
        {place && !place.online && <Note tone="warning">{place.problem}</Note>}
      </header>
      {problem && (
        <div class="cs-pad">
          <ProblemNote problem={problem} retry={retry} />
        </div>
      )}
      {!known && waiting && <Waiting>{trans.__("Looking what is there…")}</Waiting>}
      <div class={chosen ? "cs-folder-body cs-folder-split" : "cs-folder-body"}>
        {known && !rows.length && !problem && (
          <Empty icon="storage" title={trans.__("Nothing is here yet")}>
            {writable ? trans.__("Drop files here, or choose them with “Upload…”. Staged products and results of jobs come here, too.") : ""}
          </Empty>
        )}
        {rows.length > 0 && !visible.length && (
          <Empty
            icon="filter"
            title={trans.__("No name here has “%1” in it", filter)}
            actions={<Button onClick={() => setFilter("")}>{trans.__("Show all")}</Button>}
          >
            {next ? trans.__("Only what was loaded so far was looked through.") : ""}
          </Empty>
        )}
        {visible.length > 0 && (
          <VirtualList
            label={trans.__("What is in this folder")}
            items={visible}
            rowHeight={44}
            keyOf={({ key }) => key}
            active={active}
            onActive={setActive}
            isSelected={({ key }) => key === open}
            onOpen={({ key, object }) => (object ? setOpen(key) : go(key))}
            row={({ key, object }) => (
              <div class="cs-object">
                <Icon name={object ? (object.layer ? "layers" : "file") : "folder"} />
                <span class="cs-object-name" title={nameOf(key)}>
                  {nameOf(key)}
                  {object ? "" : "/"}
                </span>
                {object ? (
                  <>
                    <span class="cs-object-time cs-soft">{moment(object.modified)}</span>
                    <span class="cs-object-size">{bytes(object.size)}</span>
                  </>
                ) : (
                  <span class="cs-object-size cs-soft">{trans.__("folder")}</span>
                )}
              </div>
            )}
            after={
              next ? (
                <div class="cs-pad">
                  <Button disabled={waiting} onClick={more}>
                    {waiting ? trans.__("Loading…") : trans.__("Show more")}
                  </Button>
                </div>
              ) : null
            }
          />
        )}
        {chosen && (
          <ObjectDetails
            key={chosen.key}
            bucket={where.bucket}
            object={chosen}
            place={place}
            shown={shown}
            onClose={() => setOpen(null)}
            onDeleted={() => {
              setOpen(null);
              again();
            }}
          />
        )}
      </div>
      {deleting && place && (
        <FolderDeletion
          where={where}
          place={place}
          onClose={() => setDeleting(false)}
          onBegun={() => go(where.prefix.slice(0, where.prefix.lastIndexOf("/", where.prefix.length - 2) + 1))}
        />
      )}
      {over && (
        <div class="cs-drop" aria-hidden="true">
          <Icon name="upload" size={32} />
          <strong>{trans.__("Drop to upload here")}</strong>
        </div>
      )}
    </div>
  );
}

function Crumb({ name, last, go }: { name: string; last: boolean; go: () => void }) {
  return (
    <>
      <Icon name="right" size={12} />
      {last ? (
        <span aria-current="location" class="cs-crumb">
          {name}
        </span>
      ) : (
        <button type="button" class="cs-text-button" onClick={go}>
          {name}
        </button>
      )}
    </>
  );
}
