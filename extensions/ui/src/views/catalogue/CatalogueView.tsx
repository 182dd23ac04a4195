import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { usePageId } from "../../design/page-id";
import { Tabs } from "../../design/tabs";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import type { ViewProps } from "../view";
import { runSearch } from "./actions";
import { ItemDetails } from "./ItemDetails";
import { MapPane } from "./MapPane";
import { ResultsPane } from "./ResultsPane";
import { SavedPane } from "./SavedPane";
import { searchOf } from "./search";
import { SearchForm } from "./SearchForm";
import { SelectionBar } from "./SelectionBar";
import { catalogueUi } from "./ui-state";

const PANES = ["search", "results", "saved"] as const;

export function CatalogueView({ shown }: ViewProps) {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const search = searchOf(session);
  const prefix = usePageId();
  const chosen = useStore(ui.pane);
  const pane = PANES.find((name) => name === chosen) ?? "search";
  const open = useStore(ui.open);
  const count = useStore(search.state, ({ items }) => items.length);
  const idle = useStore(search.state, ({ phase }) => phase === "idle");

  // Who uses the keyboard goes on in what is shown now: the details, or the list they were opened from.
  const side = useRef<HTMLDivElement>(null);
  const focused = hasFocus(side.current);
  useLayoutEffect(() => {
    if (!focused || hasFocus(side.current)) return;
    side.current?.querySelector<HTMLElement>(open ? ".cs-details-head button" : "[role=listbox], .cs-saved-main")?.focus();
  }, [open]);

  // What was shown before a reload is asked for again.
  useEffect(() => {
    if (!ui.asked.get() || search.state.get().phase !== "idle") return;
    const [before, item] = [ui.pane.get(), ui.open.get()];
    runSearch(session);
    ui.pane.set(before);
    ui.open.set(item);
  }, []);

  return (
    <div class="cs-catalogue">
      <div class="cs-catalogue-side" ref={side}>
        <Tabs
          label={trans.__("Parts of the catalogue")}
          kind="small"
          prefix={prefix}
          chosen={pane}
          onChoose={(id) => {
            ui.open.set("");
            ui.pane.set(id);
          }}
          tabs={[
            { id: "search", label: trans.__("Search") },
            { id: "results", label: trans.__("Results"), badge: idle ? undefined : count },
            { id: "saved", label: trans.__("Saved") },
          ]}
        />
        {PANES.map((name) => (
          <div
            key={name}
            role="tabpanel"
            id={`${prefix}-panel-${name}`}
            aria-labelledby={`${prefix}-tab-${name}`}
            hidden={name !== pane}
            class="cs-catalogue-pane"
          >
            {name === pane &&
              (open ? (
                <ItemDetails key={open} reference={open} />
              ) : name === "search" ? (
                <SearchForm />
              ) : name === "results" ? (
                <ResultsPane />
              ) : (
                <SavedPane />
              ))}
          </div>
        ))}
        <SelectionBar />
      </div>
      <MapPane shown={shown} />
    </div>
  );
}

function hasFocus(element: HTMLElement | null): boolean {
  const { activeElement } = (element?.getRootNode() ?? document) as Document | ShadowRoot;
  return !!activeElement && !!element?.contains(activeElement);
}
