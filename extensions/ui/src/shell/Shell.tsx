/** The frame of the panel: its views as tabs, the state of the server, and what is said. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { ErrorBoundary } from "./ErrorBoundary";
import { Notices } from "./Notices";
import { ServerState } from "./ServerState";
import { usePageId } from "../design/page-id";
import { Tabs } from "../design/tabs";
import { useTranslation } from "../i18n";
import { useSession, useStore } from "../state/hooks";
import { createStore, type Store } from "../state/store";
import { ViewsContext, type View } from "../views/view";

const NO_BADGE = createStore(0);

interface ShellProps {
  views: readonly View[];
  /** Which view is shown. */
  at: Store<string>;
}

export function Shell({ views, at }: ShellProps) {
  const trans = useTranslation();
  const prefix = usePageId();
  const { wanted } = useSession();
  const shown = useStore(at);
  const chosen = views.find(({ id }) => id === shown) ?? views[0];
  useEffect(() => wanted.subscribe(() => at.set((before) => wanted.get()?.view ?? before)), [wanted, at]);
  const [visited, setVisited] = useState<readonly string[]>([]);
  useEffect(() => {
    if (chosen && !visited.includes(chosen.id)) setVisited([...visited, chosen.id]);
  }, [chosen, visited]);
  const badges = views.map((view) => useBadge(view));
  if (!chosen) return null;
  return (
    <ViewsContext.Provider value={views}>
      <header class="cs-shell-head">
        <Tabs
          label={trans.__("Views")}
          tabs={views.map(({ id, icon, title }, index) => ({ id, icon, label: title(trans), badge: badges[index] || undefined }))}
          chosen={chosen.id}
          onChoose={(id) => at.set(id)}
          prefix={prefix}
        />
      </header>
      <ServerState />
      <main class="cs-shell-body">
        {views
          .filter(({ id }) => id === chosen.id || visited.includes(id))
          .map(({ id, component: Component }) => (
            <section
              key={id}
              role="tabpanel"
              id={`${prefix}-panel-${id}`}
              aria-labelledby={`${prefix}-tab-${id}`}
              hidden={id !== chosen.id}
              class="cs-view"
            >
              <ErrorBoundary>
                <Component shown={id === chosen.id} />
              </ErrorBoundary>
            </section>
          ))}
      </main>
      <Notices />
    </ViewsContext.Provider>
  );
}

function useBadge({ badge, badgeOf }: View): number {
  const session = useSession();
  const store = useMemo(() => badgeOf?.(session) ?? NO_BADGE, [badgeOf, session]) as Store<unknown>;
  return useStore(store, () => badge?.(session) ?? 0);
}
