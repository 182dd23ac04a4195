/** Tabs, as ARIA's pattern has them: arrows move, the chosen one is the one that can be tabbed to. */

import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { Icon, type IconName } from "./icons";

export interface Tab {
  id: string;
  label: string;
  icon?: IconName;
  /** A number or a word beside the label. */
  badge?: ComponentChildren;
}

interface TabsProps {
  label: string;
  tabs: readonly Tab[];
  chosen: string;
  onChoose: (id: string) => void;
  /** Makes the ids of tabs and panels; the panel of a tab is `${prefix}-panel-${id}`. */
  prefix: string;
  kind?: "main" | "small";
}

export function Tabs({ label, tabs, chosen, onChoose, prefix, kind = "main" }: TabsProps) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const at = tabs.findIndex(({ id }) => id === chosen);
    const last = tabs.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    const tab = to === undefined ? undefined : tabs[to];
    if (!tab) return;
    event.preventDefault();
    onChoose(tab.id);
    list.current?.querySelector<HTMLElement>(`#${CSS.escape(`${prefix}-tab-${tab.id}`)}`)?.focus();
  };
  return (
    <div class={`cs-tabs cs-tabs-${kind}`} role="tablist" aria-label={label} ref={list} onKeyDown={move}>
      {tabs.map(({ id, label: text, icon, badge }) => (
        <button
          key={id}
          type="button"
          role="tab"
          id={`${prefix}-tab-${id}`}
          aria-selected={id === chosen}
          aria-controls={`${prefix}-panel-${id}`}
          tabIndex={id === chosen ? 0 : -1}
          class="cs-tab"
          onClick={() => onChoose(id)}
        >
          {icon && <Icon name={icon} />}
          <span>{text}</span>
          {badge !== undefined && <span class="cs-tab-badge">{badge}</span>}
        </button>
      ))}
    </div>
  );
}
