/** What was found: an honest count, and the list. */

import { useEffect, useMemo } from "preact/hooks";
import { Button } from "../../design/controls";
import { Empty, ProblemNote } from "../../design/feedback";
import { Icon } from "../../design/icons";
import { Menu } from "../../design/menu";
import { VirtualList } from "../../design/virtual-list";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { extentOf, inWindow, runSearch, select, toggleSelected } from "./actions";
import { useNames, type Names } from "./names";
import { ResultStatus } from "./ResultStatus";
import { refParts } from "./refs";
import { SceneName } from "./SceneName";
import { searchOf, type FoundItem } from "./search";
import { Thumbnail } from "./Thumbnail";
import { catalogueUi } from "./ui-state";

const ROW = 68;

export function ResultsPane() {
  const trans = useTranslation();
  const session = useSession();
  const search = searchOf(session);
  const ui = catalogueUi(session);
  const { phase, items, next, problem } = useStore(search.state);
  const window = useStore(ui.window);
  const visible = useMemo(() => inWindow(items, window), [items, window]);
  const hovered = useStore(ui.hovered);
  const pointed = useStore(ui.pointed);
  // What was under the pointer is not any more, when the list goes.
  useEffect(() => () => ui.hovered.set(null), [ui]);
  const selection = useStore(session.selection);
  const names = useNames();
  const selected = useMemo(() => new Set(selection), [selection]);

  if (phase === "idle") {
    return (
      <Empty
        icon="search"
        title={trans.__("Nothing was searched yet")}
        actions={
          <>
            <Button onClick={() => ui.pane.set("search")}>{trans.__("Fill in what to search")}</Button>
            <Button kind="primary" onClick={() => runSearch(session)}>
              {trans.__("Search")}
            </Button>
          </>
        }
      >
        {trans.__("Every archive of the federation is asked at once.")}
      </Empty>
    );
  }
  const searching = phase === "searching";
  const shownRefs = visible.map(({ ref }) => ref);
  const all = shownRefs.length > 0 && shownRefs.every((ref) => selected.has(ref));
  return (
    <div class="cs-results">
      <ResultStatus />
      {problem && (
        <div class="cs-pad">
          <ProblemNote problem={problem} retry={() => void search.again()} />
        </div>
      )}
      {!items.length && !searching && !problem ? (
        <Empty
          icon="search"
          title={phase === "stopped" ? trans.__("The search was stopped") : trans.__("Nothing was found")}
          actions={<Button onClick={() => ui.pane.set("search")}>{trans.__("Change the search")}</Button>}
        >
          {trans.__("Try a larger area, more days, more clouds, or fewer conditions.")}
        </Empty>
      ) : (
        <>
          {items.length > 0 && (
            <div class="cs-results-tools">
              <Button
                icon="check"
                kind="quiet"
                aria-pressed={all}
                onClick={() =>
                  all ? session.selection.set((before) => before.filter((ref) => !shownRefs.includes(ref))) : select(session, shownRefs)
                }
              >
                {trans.__("All")}
              </Button>
              {window && (
                <span class="cs-hint">
                  {trans.__("%1 of these dates", visible.length)}{" "}
                  <button type="button" class="cs-text-button" onClick={() => ui.window.set(null)}>
                    {trans.__("show all")}
                  </button>
                </span>
              )}
              <span class="cs-spacer" />
              <Menu
                compact
                kind="quiet"
                icon="more"
                label={trans.__("With all results")}
                items={[
                  { label: trans.__("Show all on the map"), icon: "view", run: () => ui.fit.set(extentOf(visible)) },
                  { label: trans.__("Search again"), icon: "refresh", run: () => void search.again() },
                  { label: trans.__("Forget these results"), icon: "clear", run: () => { search.clear(); ui.asked.set(false); } },
                ]}
              />
            </div>
          )}
          <VirtualList<FoundItem>
            label={trans.__("Results")}
            items={visible}
            rowHeight={ROW}
            keyOf={({ ref }) => ref}
            active={hovered}
            reveal={pointed}
            onActive={(ref) => ui.hovered.set(ref)}
            onOpen={({ ref }) => {
              ui.hovered.set(null);
              ui.open.set(ref);
            }}
            onToggle={({ ref }) => toggleSelected(session, ref)}
            onSelect={(some) => select(session, some.map(({ ref }) => ref))}
            isSelected={({ ref }) => selected.has(ref)}
            onHover={(item) => ui.hovered.set(item?.ref ?? null)}
            row={(item) => <Row item={item} selected={selected.has(item.ref)} names={names} />}
            after={
              next && !searching ? (
                <div class="cs-more">
                  <Button onClick={() => void search.more()}>{trans.__("Load more")}</Button>
                </div>
              ) : undefined
            }
          />
        </>
      )}
    </div>
  );
}

function Row({ item, selected, names }: { item: FoundItem; selected: boolean; names: Names }) {
  const trans = useTranslation();
  const { id, collection } = refParts(item.ref);
  const { datetime, cloud_cover: clouds, mirrors, provider } = item;
  const archive = names.archive(provider);
  return (
    <div class="cs-result">
      <span
        class={selected ? "cs-tick cs-tick-on" : "cs-tick"}
        data-tick
        title={trans.__("Select (Space); with Shift, all from the one selected last")}
      >
        {selected && <Icon name="check" size={12} />}
      </span>
      <Thumbnail reference={item.ref} />
      <span class="cs-result-text">
        <SceneName id={id} />
        <span class="cs-result-facts">
          <span class="cs-cut">{datetime ? datetime.slice(0, 16).replace("T", " ") : trans.__("no date")}</span>
          {clouds !== null && clouds !== undefined && (
            <span>
              <Icon name="cloud" size={12} /> {trans.__("%1 %", Math.round(clouds))}
            </span>
          )}
        </span>
        <span class="cs-result-facts cs-soft">
          <span class="cs-cut" title={collection}>
            {names.collection(provider, collection)}
          </span>
          <span class="cs-cut cs-result-archive">{mirrors ? trans._n("%2 and %1 more", "%2 and %1 more", mirrors, archive) : archive}</span>
        </span>
      </span>
    </div>
  );
}
