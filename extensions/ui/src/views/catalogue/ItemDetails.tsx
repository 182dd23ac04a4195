/** One item: what it says of itself, every file at every place, and what can be done with it. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import { Button, IconButton, TextField } from "../../design/controls";
import { Badge, ProblemNote, Waiting } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { OutsideLink, safeHref } from "../../design/link";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { itemText, type AssetEntry } from "../../items/item";
import { StageDialog } from "../../items/StageDialog";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { useHasView } from "../view";
import { extentOf, takeIntoJob, toggleSelected } from "./actions";
import { CodeMenu } from "./CodeMenu";
import { libraryOf } from "./library";
import { useNames, type Names } from "./names";
import { previewsOf } from "./previews";
import { refParts } from "./refs";
import { SceneName } from "./SceneName";
import { Thumbnail } from "./Thumbnail";
import { catalogueUi } from "./ui-state";

export function ItemDetails({ reference }: { reference: string }) {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const previews = previewsOf(session);
  const { id, collection, provider } = refParts(reference);
  const names = useNames();
  const { value, problem, waiting, retry } = useAsked([reference], (signal) =>
    session.api.get("/catalog/items/{ref}", { path: { ref: reference }, signal }),
  );
  const layer = useAsked([reference], () => previews.info(reference));
  const item = useMemo(() => (value ? itemText(value) : null), [value]);
  const jobs = useHasView("jobs");
  const selected = useStore(session.selection, (refs) => refs.includes(reference));
  const shown = useStore(previews.list, (list) => list.find(({ ref }) => ref === reference));
  const library = libraryOf(session);
  const favourite = useStore(library.state, ({ favourites }) => favourites.some(({ ref }) => ref === reference));
  useEffect(() => void library.load(), [library]);
  const [staging, setStaging] = useState(false);
  const [words, setWords] = useState("");
  const geometry = (value as { geometry?: unknown } | undefined)?.geometry;
  const go = () => ui.fit.set(extentOf([{ geometry: geometry as never }]));
  const renderings = layer.value?.renderings ?? [];
  const wanted = words.toLowerCase();
  return (
    <article class="cs-details" aria-label={id}>
      <header class="cs-details-head">
        <IconButton
          icon="left"
          label={trans.__("Back to the list")}
          onClick={() => {
            ui.hovered.set(reference);
            ui.pointed.set(reference); // so that the list shows it
            ui.open.set("");
          }}
        />
        <h2>
          <SceneName id={id} />
        </h2>
        <IconButton
          icon="star"
          label={favourite ? trans.__("Remove from the favourites") : trans.__("Add to the favourites")}
          pressed={favourite}
          onClick={() => void library.toggle(reference, item?.title || id).catch((thrown: unknown) => session.say(asProblem(thrown).message, "error"))}
        />
        <IconButton icon="view" label={trans.__("Show it on the map")} disabled={!geometry} onClick={go} />
      </header>
      <div class="cs-details-body">
        <Thumbnail reference={reference} size="large" />
        <p class="cs-details-line">
          <span>{item?.datetime.replace("T", " ") || ""}</span>
          <Badge tone="plain">{names.collection(provider, collection)}</Badge>
          <Badge tone="plain">{names.archive(provider)}</Badge>
          {item?.mirrors.map((mirror) => (
            <Badge key={mirror.provider} tone="plain">
              {trans.__("also at %1", names.archive(mirror.provider))}
            </Badge>
          ))}
        </p>
        <div class="cs-actions">
          <Button icon={selected ? "check" : "plus"} aria-pressed={selected} onClick={() => toggleSelected(session, reference)}>
            {selected ? trans.__("Selected") : trans.__("Select")}
          </Button>
          <Button icon="stage" onClick={() => setStaging(true)}>
            {trans.__("Stage…")}
          </Button>
          {jobs && (
            <Button icon="jobs" onClick={() => takeIntoJob(session, [reference])}>
              {trans.__("Use in a job")}
            </Button>
          )}
          <CodeMenu refs={[reference]} />
        </div>
        <section class="cs-section" aria-label={trans.__("On the map")}>
          <header class="cs-section-head">
            <h3>{trans.__("On the map")}</h3>
          </header>
          {layer.waiting && !layer.value && <Waiting>{trans.__("Looking at what can be shown…")}</Waiting>}
          {layer.problem && <ProblemNote problem={layer.problem} retry={layer.retry} />}
          {layer.value?.problem && <p class="cs-hint">{trans.__("It cannot be shown: %1", layer.value.problem)}</p>}
          {renderings.length > 0 && (
            <div class="cs-actions">
              {renderings.slice(0, 4).map(({ id: show, title }) => {
                const on = shown !== undefined && (shown.show || renderings[0]?.id) === show;
                return (
                  <Button
                    key={show}
                    aria-pressed={on}
                    onClick={() => {
                      if (on) previews.hide(reference);
                      else {
                        previews.show(reference, show);
                        go();
                      }
                    }}
                  >
                    {title}
                  </Button>
                );
              })}
              {renderings.length > 4 && (
                <Menu
                  label={trans.__("Other")}
                  items={renderings.slice(4).map(({ id: show, title }) => ({ label: title, run: () => previews.show(reference, show) }))}
                />
              )}
            </div>
          )}
        </section>
        {waiting && !item && <Waiting>{trans.__("Loading the item…")}</Waiting>}
        {problem && <ProblemNote problem={problem} retry={retry} />}
        {item && (
          <>
            {(item.title || item.description) && (
              <section class="cs-section" aria-label={trans.__("Description")}>
                {item.title && <strong>{item.title}</strong>}
                {item.description && <p>{item.description}</p>}
              </section>
            )}
            <section class="cs-section" aria-label={trans.__("Files")}>
              <header class="cs-section-head">
                <h3>{trans.__("Files")}</h3>
                <span class="cs-soft">{item.assets.length}</span>
              </header>
              <Assets assets={item.assets} home={provider} names={names} />
              {item.mirrors.map(({ provider: where, assets }) => (
                <details key={where}>
                  <summary>{trans.__("In another form at %1", names.archive(where))}</summary>
                  <Assets assets={assets} home={where} names={names} />
                </details>
              ))}
            </section>
            <section class="cs-section" aria-label={trans.__("Properties")}>
              <header class="cs-section-head">
                <h3>{trans.__("Properties")}</h3>
              </header>
              {item.facts.length > 12 && (
                <TextField quiet type="search" label={trans.__("Find a property")} placeholder={trans.__("Find a property")} value={words} onValue={setWords} />
              )}
              <dl class="cs-facts">
                {item.facts
                  .filter(([name, fact]) => !wanted || name.toLowerCase().includes(wanted) || fact.toLowerCase().includes(wanted))
                  .map(([name, fact]) => (
                    <div key={name}>
                      <dt>{name}</dt>
                      <dd>
                        <OutsideLink address={fact}>{fact}</OutsideLink>
                      </dd>
                    </div>
                  ))}
              </dl>
            </section>
          </>
        )}
      </div>
      {staging && <StageDialog refs={[reference]} onClose={() => setStaging(false)} />}
    </article>
  );
}

const LONGEST_SHOWN = 400;

function shortened(address: string): string {
  return address.length > LONGEST_SHOWN ? `${address.slice(0, LONGEST_SHOWN)}…` : address;
}

function Assets({ assets, home, names }: { assets: readonly AssetEntry[]; home: string; names: Names }) {
  const trans = useTranslation();
  const session = useSession();
  const copy = async (href: string) => {
    try {
      await navigator.clipboard.writeText(href);
      session.say(trans.__("The address is copied."), "success");
    } catch {
      session.say(trans.__("The browser did not let it be copied: %1", shortened(href)), "error");
    }
  };
  return (
    <ul class="cs-plain-list cs-assets">
      {assets.map(({ key, title, type, roles, size, places }) => (
        <li key={key}>
          <details>
            <summary>
              <strong>{key}</strong> {title && title !== key && <span>{title}</span>}
              <span class="cs-soft cs-asset-size">{size === null ? "" : bytes(size)}</span>
            </summary>
            <p class="cs-hint">{[type, roles.join(", ")].filter(Boolean).join(" · ")}</p>
            <ul class="cs-plain-list">
              {places.map(({ name, href }) => (
                <li key={href} class="cs-place-line">
                  <Badge tone="plain">{names.archive(name || home)}</Badge>
                  <span class="cs-mono cs-address">{safeHref(href) ? <OutsideLink address={href}>{shortened(href)}</OutsideLink> : shortened(href)}</span>
                  <IconButton icon="copy" label={trans.__("Copy the address of %1 at %2", key, names.archive(name || home))} onClick={() => void copy(href)} />
                </li>
              ))}
            </ul>
          </details>
        </li>
      ))}
    </ul>
  );
}
