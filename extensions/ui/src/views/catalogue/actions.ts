/** What can be done with the form and with what was found. */

import type { Box } from "../../map/geo";
import { boxOf } from "../../map/geo";
import type { Session } from "../../state/session";
import { formStore, questionOf } from "./form";
import { searchOf, type FoundItem } from "./search";
import { catalogueUi } from "./ui-state";

/** Search by what is filled in. */
export function runSearch(session: Session): void {
  const ui = catalogueUi(session);
  const question = questionOf(formStore(session).get(), session.area.get(), session.datetime.get(), session.host.preferences.get().pageSize);
  ui.window.set(null);
  ui.open.set("");
  ui.pane.set("results");
  ui.asked.set(true);
  void searchOf(session).start(question);
}

/** Select an item, or no longer. */
export function toggleSelected(session: Session, ref: string): void {
  session.selection.set((before) => (before.includes(ref) ? before.filter((other) => other !== ref) : [...before, ref]));
}

/** Select these items, too. */
export function select(session: Session, refs: readonly string[]): void {
  session.selection.set((before) => [...new Set([...before, ...refs])]);
}

/** Let a new job take these items, with the area and the dates that are filled in. */
export function takeIntoJob(session: Session, refs: readonly string[]): void {
  session.jobInputs.set({ refs: [...refs], area: session.area.get(), datetime: session.datetime.get() });
  session.goTo("jobs");
}

/** The extent of outlines. */
export function extentOf(items: readonly Pick<FoundItem, "geometry">[]): Box | null {
  const points: number[][] = [];
  const collect = (value: unknown, depth: number) => {
    if (!Array.isArray(value) || depth > 6) return;
    if (typeof value[0] === "number") points.push(value as number[]);
    else for (const part of value) collect(part, depth + 1);
  };
  for (const { geometry } of items) collect((geometry as { coordinates?: unknown } | null)?.coordinates, 0);
  return boxOf(points);
}

/** Those that lie in the window of days. */
export function inWindow(items: readonly FoundItem[], window: readonly [string, string] | null): readonly FoundItem[] {
  if (!window) return items;
  const [from, to] = window;
  return items.filter(({ datetime }) => {
    const day = datetime?.slice(0, 10) ?? "";
    return day >= from && day <= to;
  });
}
