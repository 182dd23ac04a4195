/** The places: what each is for, whether it answers, whether it is mounted, what is in it and what room there is. */

import { useEffect } from "preact/hooks";
import type { StoragePlace } from "../../api/schema";
import { Button, IconButton } from "../../design/controls";
import { Badge, Empty, Note, ProblemNote, Progress, Waiting } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { endOf, placeTitle, whereOf } from "./where";
import { placeKey, usageOf } from "./usage";

const AGAIN_AFTER = 30_000;

export function PlacesPane({ shown }: { shown: boolean }) {
  const trans = useTranslation();
  const { api } = useSession();
  const { value, problem, waiting, retry } = useAsked([api], (signal) => api.get("/storage/places", { signal }));
  useEffect(() => {
    if (!shown) return;
    const timer = setInterval(() => document.visibilityState === "visible" && retry(), AGAIN_AFTER);
    return () => clearInterval(timer);
  }, [shown]);
  return (
    <div class="cs-storage-scroll">
      <header class="cs-storage-head">
        <h2>{trans.__("Your places in the object store")}</h2>
        <span class="cs-spacer" />
        <IconButton icon="refresh" label={trans.__("Look again")} disabled={waiting} onClick={retry} />
      </header>
      {problem && <ProblemNote problem={problem} retry={retry} />}
      {!value && waiting && <Waiting>{trans.__("Asking the object store…")}</Waiting>}
      {value && !value.places.length && (
        <Empty icon="storage" title={trans.__("You have no place in the object store")}>
          {trans.__("Places come with a virtual organisation. Ask its manager to take you in, then sign in again.")}
        </Empty>
      )}
      <ul class="cs-plain-list cs-stores">
        {value?.places.map((place) => (
          <Place key={placeKey(place.bucket, place.prefix)} place={place} />
        ))}
      </ul>
    </div>
  );
}

function Place({ place }: { place: StoragePlace }) {
  const trans = useTranslation();
  const session = useSession();
  const { bucket, prefix, access, online, problem, room } = place;
  const title = placeTitle(place, trans);
  return (
    <li class="cs-store">
      <header class="cs-store-head">
        <h3>{title}</h3>
        <Badge tone="plain">{access === "rw" ? trans.__("read and write") : trans.__("read only")}</Badge>
        {!online && <Badge tone="error">{trans.__("does not answer")}</Badge>}
      </header>
      <p class="cs-mono cs-break">
        s3://{bucket}/{prefix}
      </p>
      {!online && <Note tone="warning">{problem}</Note>}
      <Mount place={place} />
      <Held place={place} />
      {room !== null && <p class="cs-hint">{trans.__("The quota of the bucket leaves %1.", bytes(room))}</p>}
      <div class="cs-actions">
        <Button
          kind="primary"
          aria-label={trans.__("Open %1", title)}
          onClick={() => whereOf(session).set({ bucket, root: prefix, prefix })}
        >
          {trans.__("Open")}
        </Button>
      </div>
    </li>
  );
}

/** How the place is in the file system. */
function Mount({ place: { mount } }: { place: StoragePlace }) {
  const trans = useTranslation();
  if (!mount) return <p class="cs-hint">{trans.__("Not in the file system; notebooks reach it by its address.")}</p>;
  const words = {
    ok: trans.__("in the file system"),
    starting: trans.__("is being mounted"),
    stalled: trans.__("the mount does not answer"),
    off: trans.__("not mounted"),
  }[mount.state];
  const tone = { ok: "success", starting: "info", stalled: "error", off: "warning" } as const;
  return (
    <div>
      <Badge tone={tone[mount.state]}>{words}</Badge>{" "}
      <span class="cs-mono cs-break" title={mount.path}>
        {endOf(mount.path)}
      </span>
      {mount.detail && <p class="cs-hint">{mount.detail}</p>}
    </div>
  );
}

/** What it holds, once somebody wants to know: counting asks the store for every object. */
function Held({ place: { bucket, prefix, room, online } }: { place: StoragePlace }) {
  const trans = useTranslation();
  const usage = usageOf(useSession());
  const count = useStore(usage.counts, (all) => all[placeKey(bucket, prefix)]);
  const again = () => void usage.count(bucket, prefix);
  if (!count) {
    return (
      <div class="cs-actions">
        <Button disabled={!online} aria-label={trans.__("Count what is in %1", `${bucket}/${prefix}`)} onClick={again}>
          {trans.__("Count what is in it")}
        </Button>
      </div>
    );
  }
  if (count.problem) return <ProblemNote problem={count.problem} retry={again} />;
  const told = trans._n("%2 in %1 object", "%2 in %1 objects", count.objects, bytes(count.size));
  if (count.counting) {
    return (
      <div class="cs-actions" role="status">
        <span class="cs-spinner" aria-hidden="true" />
        {trans.__("%1 so far", told)}
        <Button kind="quiet" onClick={() => usage.stop(bucket, prefix)}>
          {trans.__("Stop counting")}
        </Button>
      </div>
    );
  }
  const { whole } = count;
  const folders = Object.entries(whole?.folders ?? {}).filter(([, size]) => size > 0);
  const all = room === null ? count.size : count.size + room;
  return (
    <div>
      <div class="cs-actions">
        <strong>{whole?.complete ? told : trans.__("At least %1", told)}</strong>
        <IconButton icon="refresh" label={trans.__("Count again")} onClick={again} />
      </div>
      {room !== null && all > 0 && <Progress label={trans.__("Share of the room that this place uses")} value={count.size / all} />}
      {folders.length > 1 && (
        <details>
          <summary>{trans.__("The largest folders")}</summary>
          <ul class="cs-plain-list">
            {folders.slice(0, 8).map(([name, size]) => (
              <li key={name} class="cs-folder-size">
                <span class="cs-break">{name || trans.__("files beside the folders")}</span>
                <span class="cs-soft">{bytes(size)}</span>
              </li>
            ))}
          </ul>
        </details>
      )}
    </div>
  );
}
