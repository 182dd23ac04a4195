/** Before something is brought into a bucket: what, how large, where to. */

import { useMemo, useRef, useState } from "preact/hooks";
import { Button, Checkbox, SelectField, TextField } from "../design/controls";
import { Dialog } from "../design/dialog";
import { Note, ProblemNote, Waiting } from "../design/feedback";
import { bytes } from "../design/figures";
import { useTranslation } from "../i18n";
import { useAsked, useSending, useSession } from "../state/hooks";
import { useHasView } from "../views/view";
import { itemText, type Item } from "./item";
import { StageEstimate } from "./StageEstimate";

const AT_ONCE = 6;
const MOST = 1000;

/** The whole items, some at a time. */
async function wholeItems(get: (ref: string) => Promise<Item>, refs: readonly string[], signal: AbortSignal): Promise<Item[]> {
  const items = new Array<Item>(refs.length);
  let next = 0;
  const work = async () => {
    while (next < refs.length) {
      signal.throwIfAborted();
      const at = next++;
      items[at] = await get(refs[at] ?? "");
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return items;
}

export function StageDialog({ refs, onClose }: { refs: readonly string[]; onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const { api } = session;
  const hasStaging = useHasView("staging");
  const site = useAsked([api], (signal) => api.get("/site", { signal }));
  const items = useAsked([refs.join(" ")], (signal) =>
    wholeItems((ref) => api.get("/catalog/items/{ref}", { path: { ref }, signal }), refs, signal),
  );
  const places = (site.value?.grants ?? []).filter(({ access, purpose }) => access === "rw" && purpose === "products");
  const [vo, setVo] = useState("");
  const [title, setTitle] = useState("");
  const [register, setRegister] = useState(true);
  const [chosen, setChosen] = useState<readonly string[] | null>(null);
  const { sending, problem, send } = useSending();
  // The same key however often the button is pressed: the server makes one job.
  const key = useRef(crypto.randomUUID());

  const files = useMemo(() => {
    const found = new Map<string, { title: string; size: number; unsaid: number; count: number }>();
    for (const item of items.value ?? []) {
      for (const asset of itemText(item).assets) {
        const entry = found.get(asset.key) ?? { title: asset.title, size: 0, unsaid: 0, count: 0 };
        entry.size += asset.size ?? 0;
        entry.unsaid += asset.size === null ? 1 : 0;
        entry.count += 1;
        found.set(asset.key, entry);
      }
    }
    return [...found].map(([name, entry]) => ({ name, ...entry }));
  }, [items.value]);
  const isChosen = (file: (typeof files)[number]) => !chosen || chosen.includes(file.name);
  const taken = files.filter(isChosen);
  const size = taken.reduce((sum, file) => sum + file.size, 0);
  const unsaid = taken.reduce((sum, file) => sum + file.unsaid, 0);
  const place = places.find((each) => each.vo === vo) ?? places[0];
  const change = (name: string, on: boolean) => {
    const now = taken.map((file) => file.name);
    const left = on ? [...now, name] : now.filter((other) => other !== name);
    // All of them: what cannot be read from here is then left out, and not refused.
    setChosen(left.length === files.length ? null : left);
    key.current = crypto.randomUUID();
  };

  const start = () =>
    send(async () => {
      const body = { refs: [...refs], assets: chosen ? [...chosen] : null, vo: place?.vo ?? "", title, register };
      await api.post("/stage", { body, headers: { "Idempotency-Key": key.current } });
      session.say(trans._n("%1 item is being staged.", "%1 items are being staged.", refs.length), "success");
      void session.jobs.refresh();
      if (hasStaging) session.goTo("staging");
      onClose();
    });

  return (
    <Dialog
      title={trans._n("Stage %1 item", "Stage %1 items", refs.length)}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Cancel")}</Button>
          <Button kind="primary" icon="stage" disabled={sending || !place || (items.value !== undefined && !taken.length) || refs.length > MOST} onClick={() => void start()}>
            {size > 0 ? trans.__("Stage %1", bytes(size)) : trans.__("Stage")}
          </Button>
        </>
      }
    >
      {site.problem && <ProblemNote problem={site.problem} retry={site.retry} />}
      {site.value && !places.length && (
        <Note tone="warning" title={trans.__("You have no bucket to bring products to.")}>
          {trans.__("Ask the manager of your virtual organisation for the right to write its products.")}
        </Note>
      )}
      {refs.length > MOST && <Note tone="warning">{trans.__("At most %1 items are staged at once: select fewer.", MOST)}</Note>}
      {places.length > 1 && (
        <SelectField
          label={trans.__("Where to")}
          value={place?.vo ?? ""}
          options={places.map((each) => [each.vo, `${each.vo} (${each.bucket}/${each.prefix})`] as const)}
          onValue={setVo}
        />
      )}
      {places.length === 1 && place && (
        <p>
          {trans.__("To")} <strong>{place.vo}</strong> <span class="cs-mono">s3://{place.bucket}/{place.prefix}</span>
        </p>
      )}
      {items.waiting && !items.value && <Waiting>{trans.__("Looking up the files and their sizes…")}</Waiting>}
      {items.problem && <ProblemNote problem={items.problem} retry={items.retry} />}
      {files.length > 0 && (
        <fieldset class="cs-files">
          <legend class="cs-label">{trans.__("Files")}</legend>
          {files.map((file) => (
            <Checkbox
              key={file.name}
              checked={isChosen(file)}
              onChecked={(on) => change(file.name, on)}
              label={
                <>
                  {file.name} {file.title && file.title !== file.name && <span class="cs-soft">{file.title} </span>}
                  <span class="cs-soft">
                    {file.size ? bytes(file.size) : trans.__("size not said")}
                    {refs.length > 1 && trans._n(" in %1 item", " in %1 items", file.count)}
                  </span>
                </>
              }
            />
          ))}
          <p class="cs-hint">
            {trans._n("%1 file, %2 in all", "%1 files, %2 in all", taken.reduce((sum, file) => sum + file.count, 0), size ? bytes(size) : trans.__("size not known"))}
            {unsaid > 0 && size > 0 && ` ${trans._n("and %1 that states no size", "and %1 that state no size", unsaid)}`}
            . {trans.__("What is in the bucket already is not fetched again.")}
          </p>
          {items.value && place && taken.length > 0 && (
            <StageEstimate items={items.value} assets={chosen ? taken.map(({ name }) => name) : null} vo={place.vo} register={register} />
          )}
        </fieldset>
      )}
      <TextField label={trans.__("Name of the job (optional)")} value={title} onValue={(value) => setTitle(value.slice(0, 200))} />
      <Checkbox checked={register} onChecked={setRegister} label={trans.__("Write them to the community's catalogue, too")} />
      {problem && <ProblemNote problem={problem} retry={() => void start()} />}
    </Dialog>
  );
}
