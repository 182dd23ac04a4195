/**
 * A list of any length whose rows are all of one height: only those that are seen are in the page.
 *
 * Arrows, Page Up and Down, Home and End move through it; Enter opens, Space selects. Where several can
 * be selected, Shift with Space, a click or an arrow selects all from the one that was selected last, as
 * ARIA's listbox pattern has it, and Ctrl+A selects all there is.
 */

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { usePageId } from "./page-id";

interface VirtualListProps<T> {
  label: string;
  items: readonly T[];
  rowHeight: number;
  keyOf: (item: T) => string;
  /** The row that the keyboard or the pointer is at. */
  active: string | null;
  /** A row that is to be brought into sight, such as one that is pointed at elsewhere. */
  reveal?: string | null;
  onActive: (key: string) => void;
  onOpen: (item: T) => void;
  onToggle?: (item: T) => void;
  /** Select these, too. */
  onSelect?: (items: readonly T[]) => void;
  isSelected?: (item: T) => boolean;
  /** What is in a row; a click on an element in it with `data-tick` selects instead of opening. */
  row: (item: T) => ComponentChildren;
  onHover?: (item: T | null) => void;
  /** Below the last row. */
  after?: ComponentChildren;
}

const BEYOND = 6;

export function VirtualList<T>(props: VirtualListProps<T>) {
  const { label, items, rowHeight, keyOf, active, reveal, onActive, onOpen, onToggle, onSelect, isSelected, row, onHover, after } = props;
  const box = useRef<HTMLDivElement>(null);
  const rows = usePageId();
  const [seen, setSeen] = useState({ top: 0, height: 600 });
  // The keyboard goes on where it was when the pointer leaves.
  const stood = useRef(active);
  if (active !== null) stood.current = active;
  const placeOf = (wanted: string | null) => (wanted === null ? -1 : items.findIndex((item) => keyOf(item) === wanted));
  const at = placeOf(stood.current);
  /** From where a range is selected: the one that was selected last. */
  const anchor = useRef<string | null>(null);

  useLayoutEffect(() => {
    const element = box.current;
    if (!element) return;
    const measure = () => setSeen({ top: element.scrollTop, height: element.clientHeight || 600 });
    measure();
    const watcher = new ResizeObserver(measure);
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);

  // Rows that move below a pointer that rests are not pointed at: the keyboard is at another one.
  const pointer = useRef({ x: NaN, y: NaN, moved: false });
  useEffect(() => {
    const follow = ({ screenX: x, screenY: y }: MouseEvent) => {
      pointer.current = { x, y, moved: x !== pointer.current.x || y !== pointer.current.y };
    };
    document.addEventListener("mousemove", follow, true);
    return () => document.removeEventListener("mousemove", follow, true);
  }, []);

  const bring = (index: number) => {
    const element = box.current;
    if (!element || index < 0) return;
    const top = index * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight > element.scrollTop + element.clientHeight) {
      element.scrollTop = top + rowHeight - element.clientHeight;
    }
  };
  useLayoutEffect(() => {
    if (reveal) bring(placeOf(reveal));
  }, [reveal]);

  const toggle = (item: T) => {
    anchor.current = keyOf(item);
    onToggle?.(item);
  };
  const selectTo = (index: number) => {
    if (placeOf(anchor.current) < 0) anchor.current = items[at] ? keyOf(items[at]) : null;
    const from = placeOf(anchor.current);
    const [first, last] = from < 0 ? [index, index] : [Math.min(from, index), Math.max(from, index)];
    onSelect?.(items.slice(first, last + 1));
  };

  const keys = (event: KeyboardEvent) => {
    if (event.target !== event.currentTarget) return;
    const several = event.shiftKey && onSelect;
    const page = Math.max(1, Math.floor(seen.height / rowHeight) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -items.length, End: items.length }[event.key];
    const item = items[at];
    if (step !== undefined) {
      const index = Math.max(0, Math.min(items.length - 1, at < 0 ? 0 : at + step));
      const to = items[index];
      if (to && several) selectTo(index);
      if (to) onActive(keyOf(to));
      bring(index);
    } else if (event.key === "Enter" && item) onOpen(item);
    else if (event.key === " " && item && several) selectTo(at);
    else if (event.key === " " && item) toggle(item);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey) && onSelect) onSelect(items);
    else return;
    event.preventDefault();
  };

  const first = Math.max(0, Math.floor(seen.top / rowHeight) - BEYOND);
  const last = Math.min(items.length, Math.ceil((seen.top + seen.height) / rowHeight) + BEYOND);
  // By the place: keys may hold blanks, which ids must not.
  const idOf = (index: number) => `${rows}-${index}`;
  const current = items[at];
  return (
    <div
      class="cs-list"
      ref={box}
      onScroll={(event) => setSeen({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}
    >
      <div
        role="listbox"
        aria-label={label}
        aria-multiselectable={onToggle ? true : undefined}
        aria-activedescendant={current && at >= first && at < last ? idOf(at) : undefined}
        tabIndex={0}
        class="cs-list-rows"
        style={{ height: `${items.length * rowHeight}px` }}
        onKeyDown={keys}
        onMouseLeave={() => onHover?.(null)}
        onMouseDown={(event) => {
          if (!event.shiftKey || !onSelect) return;
          event.preventDefault(); // text would be selected, too
          event.currentTarget.focus({ preventScroll: true });
        }}
      >
        {items.slice(first, last).map((item, index) => {
          const key = keyOf(item);
          return (
            <div
              key={key}
              id={idOf(first + index)}
              role="option"
              aria-selected={isSelected?.(item) ?? key === active}
              aria-setsize={items.length}
              aria-posinset={first + index + 1}
              class={key === active ? "cs-row cs-row-active" : "cs-row"}
              style={{ top: `${(first + index) * rowHeight}px`, height: `${rowHeight}px` }}
              onMouseMove={() => pointer.current.moved && key !== active && onHover?.(item)}
              onClick={(event) => {
                const ticked = (event.target as Element).closest("[data-tick]") !== null;
                if (event.shiftKey && onSelect) selectTo(first + index);
                else if (onToggle && (ticked || event.ctrlKey || event.metaKey)) toggle(item);
                else onOpen(item);
                onActive(key);
              }}
            >
              {row(item)}
            </div>
          );
        })}
      </div>
      {after}
    </div>
  );
}
