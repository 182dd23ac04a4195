/** Searches and items that the person keeps. */

import { Button, IconButton } from "../../design/controls";
import { Empty } from "../../design/feedback";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { areaBox, boxText } from "../../map/geo";
import { useSession, useStore } from "../../state/hooks";
import { runSearch } from "./actions";
import { formStore, questionOf } from "./form";
import { daysOf } from "./interval";
import { favouritesOf, savedOf, type SavedSearch } from "./library";
import { refParts } from "./refs";
import { Thumbnail } from "./Thumbnail";
import { catalogueUi } from "./ui-state";

export function SavedPane() {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const store = savedOf(session);
  const searches = useStore(store);
  const favourites = favouritesOf(session);
  const items = useStore(favourites.store);
  const fill = ({ form, area, datetime }: SavedSearch) => {
    formStore(session).set(form);
    session.area.set(area);
    session.datetime.set(datetime);
    const box = area && areaBox(area);
    if (box) ui.fit.set(box);
  };
  const copy = async ({ form, area, datetime }: SavedSearch) => {
    try {
      await navigator.clipboard.writeText(JSON.stringify(questionOf(form, area, datetime, session.host.preferences.get().pageSize), null, 2));
      session.say(trans.__("Copied. Workspace.search(**question) takes it in a notebook."), "success");
    } catch {
      session.say(trans.__("The browser did not let it be copied."), "error");
    }
  };
  if (!searches.length && !items.length) {
    return (
      <Empty icon="star" title={trans.__("Nothing is saved yet")} actions={<Button onClick={() => ui.pane.set("search")}>{trans.__("To the search")}</Button>}>
        {trans.__("Save a search to ask it again, and mark items with the star to find them again.")}
      </Empty>
    );
  }
  return (
    <div class="cs-form-scroll">
      {searches.length > 0 && (
        <section class="cs-section" aria-label={trans.__("Saved searches")}>
          <header class="cs-section-head">
            <h3>{trans.__("Searches")}</h3>
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
                  <span class="cs-hint">{describe(search, trans)}</span>
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
                    { label: trans.__("Copy as JSON"), icon: "copy", run: () => void copy(search) },
                    { label: trans.__("Delete"), icon: "bin", apart: true, run: () => store.set((before) => before.filter(({ id }) => id !== search.id)) },
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
            {items.map(({ ref }) => {
              const { id, collection, provider } = refParts(ref);
              return (
                <li key={ref}>
                  <Thumbnail reference={ref} />
                  <button type="button" class="cs-saved-main" onClick={() => ui.open.set(ref)}>
                    <strong class="cs-cut">{id}</strong>
                    <span class="cs-hint">
                      {collection} · {provider}
                    </span>
                  </button>
                  <IconButton icon="bin" label={trans.__("Remove %1 from the favourites", id)} onClick={() => favourites.toggle(ref)} />
                </li>
              );
            })}
          </ul>
        </section>
      )}
    </div>
  );
}

function describe({ form, area, datetime }: SavedSearch, trans: ReturnType<typeof useTranslation>): string {
  const box = area && areaBox(area);
  const { from, to } = daysOf(datetime);
  return [
    box ? boxText(box) : trans.__("the whole world"),
    from || to ? trans.__("%1 to %2", from || "…", to || "…") : "",
    form.collections.map((name) => name.split("|").at(-1)).join(", "),
    form.maxCloudCover < 100 ? trans.__("clouds ≤ %1 %", form.maxCloudCover) : "",
    form.conditions.length ? trans._n("%1 condition", "%1 conditions", form.conditions.length) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}
