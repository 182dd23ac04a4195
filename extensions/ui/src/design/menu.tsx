/** A button that opens a list of things to do; as ARIA's menu button pattern has it. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Button, IconButton } from "./controls";
import { Icon, type IconName } from "./icons";
import { usePageId } from "./page-id";

export interface MenuItem {
  label: string;
  icon?: IconName;
  disabled?: boolean;
  /** A line above it. */
  apart?: boolean;
  run: () => void;
}

interface MenuProps {
  label: string;
  items: readonly MenuItem[];
  icon?: IconName;
  /** Only the icon is shown. */
  compact?: boolean;
  kind?: "plain" | "primary" | "quiet";
  disabled?: boolean;
}

export function Menu({ label, items, icon, compact, kind, disabled }: MenuProps) {
  const [open, setOpen] = useState(false);
  const id = usePageId();
  const root = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const button = () => root.current?.querySelector("button");
  const entries = () => [...(list.current?.querySelectorAll<HTMLButtonElement>("[role=menuitem]:not(:disabled)") ?? [])];

  useLayoutEffect(() => {
    if (!open) return;
    const menu = list.current;
    const anchor = button();
    if (menu && anchor) {
      // Fixed, so that no scrolled box cuts it; on the side where there is room.
      const place = anchor.getBoundingClientRect();
      const width = menu.offsetWidth;
      const height = menu.offsetHeight;
      const below = place.bottom + height + 4 < window.innerHeight || place.top < height;
      menu.style.left = `${Math.max(4, Math.min(place.left, window.innerWidth - width - 4))}px`;
      menu.style.top = `${below ? place.bottom + 2 : place.top - height - 2}px`;
    }
    entries()[0]?.focus({ preventScroll: true });
  }, [open]);

  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (!root.current?.contains(event.composedPath()[0] as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside, true);
    return () => document.removeEventListener("pointerdown", outside, true);
  }, [open]);

  const close = () => {
    setOpen(false);
    button()?.focus();
  };
  const keys = (event: KeyboardEvent) => {
    const all = entries();
    const at = all.indexOf(event.target as HTMLButtonElement);
    const to = { ArrowDown: (at + 1) % all.length, ArrowUp: (at - 1 + all.length) % all.length, Home: 0, End: all.length - 1 }[
      event.key
    ];
    if (to !== undefined) all[to]?.focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") {
      setOpen(false);
      return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const toggle = {
    onClick: () => setOpen(!open),
    "aria-haspopup": "menu",
    "aria-expanded": open,
    "aria-controls": open ? id : undefined,
    disabled,
    kind,
  } as const;
  return (
    <div class="cs-menu" ref={root}>
      {compact && icon ? (
        <IconButton icon={icon} label={label} {...toggle} />
      ) : (
        <Button icon={icon} {...toggle}>
          {label} <Icon name="down" size={12} />
        </Button>
      )}
      {open && (
        <div class="cs-menu-list" role="menu" id={id} aria-label={label} ref={list} onKeyDown={keys}>
          {items.map(({ label: text, icon: picture, disabled: off, apart, run }) => (
            <button
              key={text}
              type="button"
              role="menuitem"
              tabIndex={-1}
              class={apart ? "cs-menu-item cs-apart" : "cs-menu-item"}
              disabled={off}
              onClick={() => {
                close();
                run();
              }}
            >
              {picture ? <Icon name={picture} /> : <span class="cs-icon" />}
              {text}
            </button>
          ))}
        </div>
      )}
    </div>
  );
}
