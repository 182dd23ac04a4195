/** Searches and items that the person keeps. */

import { useEffect, useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import type { SavedSearch } from "../../api/schema";
import { Button, IconButton } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Empty, ProblemNote, Waiting } from "../../design/feedback";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { areaBox, boxText } from "../../map/geo";
import { useSession, useStore } from "../../state/hooks";
import { runSearch } from "./actions";
import { daysOf } from "./interval";
import { fillIn, formOf, libraryOf, shared } from "./library";
import { useNames, type Names } from "./names";
import { refParts } from "./refs";
import { packSearch } from "./search-link";
import { SharedDialog } from "./SharedDialog";
import { Thumbnail } from "./Thumbnail";
import { catalogueUi } from "./ui-state";

export function SavedPane() {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const library = libraryOf(session);
  const names = useNames();
  const { searches, favourites: items, known, problem } = useStore(library.state);
  const [taking, setTaking] = useState(false);
  const [deleting, setDeleting] = useState<SavedSearch | null>(null);
  useEffect(() => void library.load(), [library]);
  const fill = (search: SavedSearch) => {
    const { left } = fillIn(session, search);
    if (left.length) session.say(trans.__("The form has no field for %1 of this search; it was left out.", left.join(", ")));
  };
  const { searchLink } = session.host;
  const copyLink = (search: SavedSearch) => {
    const packed = packSearch(search);
    if (searchLink && packed) void copy(searchLink(packed), trans.__("Copied. Whoever follows the link sees the same search on their own server."));
    else session.say(trans.__("This search is too long for a link: its area has many corners. Copy it as text."), "error");
  };
  const copy = async (text: string, done: string) => {
    try {
      await navigator.clipboard.writeText(text);
      session.say(done, "success");
    } catch {
      session.say(trans.__("The browser did not let it be copied."), "error");
    }
  };
  const failed = (thrown: unknown) => session.say(asProblem(thrown).message, "error");
  const dialogs = (
    <>
      {taking && <SharedDialog onClose={() => setTaking(false)} />}
      {deleting && (
        <Dialog
          title={trans.__("Delete %1?", deleting.name)}
          onClose={() => setDeleting(null)}
          actions={
            <>
              <Button onClick={() => setDeleting(null)}>{trans.__("Keep it")}</Button>
              <Button
                kind="danger"
                icon="bin"
                onClick={() => {
                  void library.remove(deleting.id).catch(failed);
                  setDeleting(null);
                }}
              >
                {trans.__("Delete")}
              </Button>
            </>
          }
        >
          {trans.__("The search is forgotten; items and results stay.")}
        </Dialog>
      )}
    </>
  );
  if (problem && !known) {
    return (
      <div class="cs-pad">
        <ProblemNote problem={problem} retry={() => void library.load(true)} />
      </div>
    );
  }
  if (!known) return <Waiting>{trans.__("Loading what you saved…")}</Waiting>;
  if (!searches.length && !items.length) {
    return (
      <>
      <Empty icon="star" title={trans.__("Nothing is saved yet")} actions={
          <>
            <Button onClick={() => ui.pane.set("search")}>{trans.__("To the search")}</Button>
            <Button onClick={() => setTaking(true)}>{trans.__("Add a shared search…")}</Button>
          </>
        }>
        {trans.__("Save a search to ask it again, and mark items with the star to find them again.")}
      </Empty>
      {dialogs}
      </>
    );
  }
  return (
    <div class="cs-form-scroll">
      {searches.length > 0 && (
        <section class="cs-section" aria-label={trans.__("Saved searches")}>
          <header class="cs-section-head">
            <h3>{trans.__("Searches")}</h3>
            <span class="cs-spacer" />
            <Button kind="quiet" icon="plus" onClick={() => setTaking(true)}>
              {trans.__("Add a shared search…")}
            </Button>
          </header>
          <ul class="cs-plain-list cs-saved">
            {searches.map((search) => (
              <li key={search.id}>
                <button
                  type="button"
                  class="cs-saved-main"
                  onClick={() => {
                    fill(search);
                    runSearch(session);
                  }}
                >
                  <strong>{search.name}</strong>
                  <span class="cs-hint">{describe(search, names, trans)}</span>
                </button>
                <Menu
                  compact
                  kind="quiet"
                  icon="more"
                  label={trans.__("More with %1", search.name)}
                  items={[
                    {
                      label: trans.__("Change it"),
                      icon: "edit",
                      run: () => {
                        fill(search);
                        ui.pane.set("search");
                      },
                    },
                    ...(searchLink ? [{ label: trans.__("Copy a link"), icon: "share" as const, run: () => copyLink(search) }] : []),
                    {
                      label: trans.__("Copy as text"),
                      icon: "copy",
                      run: () => void copy(shared(search), trans.__("Copied. A colleague adds it under Saved, with “Add a shared search”.")),
                    },
                    { label: trans.__("Delete"), icon: "bin", apart: true, run: () => setDeleting(search) },
                  ]}
                />
              </li>
            ))}
          </ul>
        </section>
      )}
      {items.length > 0 && (
        <section class="cs-section" aria-label={trans.__("Favourites")}>
          <header class="cs-section-head">
            <h3>{trans.__("Favourites")}</h3>
          </header>
          <ul class="cs-plain-list cs-saved">
            {items.map(({ ref, title }) => {
              const { id, collection, provider } = refParts(ref);
              return (
                <li key={ref}>
                  <Thumbnail reference={ref} />
                  <button type="button" class="cs-saved-main" onClick={() => ui.open.set(ref)}>
                    <strong class="cs-cut">{title || id}</strong>
                    <span class="cs-hint">
                      {names.collection(provider, collection)} · {names.archive(provider)}
                    </span>
                  </button>
                  <IconButton icon="bin" label={trans.__("Remove %1 from the favourites", id)} onClick={() => void library.toggle(ref, title).catch(failed)} />
                </li>
              );
            })}
          </ul>
        </section>
      )}
      {dialogs}
    </div>
  );
}

function describe({ query }: SavedSearch, names: Names, trans: ReturnType<typeof useTranslation>): string {
  const { form, area, datetime } = formOf(query);
  const box = area && areaBox(area);
  const { from, to } = daysOf(datetime);
  return [
    box ? boxText(box) : trans.__("the whole world"),
    from || to ? trans.__("%1 to %2", from || "…", to || "…") : "",
    [...new Set(form.collections.map(names.choice))].join(", "),
    form.maxCloudCover < 100 ? trans.__("clouds ≤ %1 %", form.maxCloudCover) : "",
    form.conditions.length ? trans._n("%1 condition", "%1 conditions", form.conditions.length) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}
