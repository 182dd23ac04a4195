/** Collections of all archives, grouped by mission; the same collection of several archives is one. */

import type { CollectionEntry, CollectionList } from "../../api/schema";
import type { Session } from "../../state/session";

export interface CollectionChoice {
  /** The same id at every archive. */
  key: string;
  title: string;
  description: string;
  /** Where it is: as searches take it, and who has it. */
  places: { id: string; provider: string; title: string; stale: boolean }[];
  from: string;
  to: string;
  licence: string;
}

export interface Mission {
  name: string;
  choices: CollectionChoice[];
}

/** Whether somebody named it: a catalogue that only keeps items of it may have its id for a title. */
export function isNamed({ title, own_id }: CollectionEntry): boolean {
  return Boolean(title) && title !== own_id;
}

function choiceOf(key: string, entries: CollectionEntry[]): CollectionChoice {
  const named = entries.filter(isNamed);
  const best = (named.length ? named : entries).reduce((one, other) => ((other.description ?? "").length > (one.description ?? "").length ? other : one));
  const ends = entries.flatMap(({ interval }) => interval ?? []);
  const starts = ends.flatMap(([start]) => (start ? [start.slice(0, 10)] : [])).sort();
  const stops = ends.map(([, stop]) => stop?.slice(0, 10) ?? "");
  return {
    key,
    title: best.title || best.own_id,
    description: best.description ?? "",
    places: entries.map(({ id, provider, provider_title, stale }) => ({ id, provider, title: provider_title, stale })),
    from: starts[0] ?? "",
    to: stops.includes("") ? "" : (stops.sort().at(-1) ?? ""),
    licence: best.licence ?? "",
  };
}

/** What can be chosen, by mission; what belongs to none comes last. */
export function missionsOf(entries: readonly CollectionEntry[], words: string, other: string): Mission[] {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map<string, Map<string, CollectionEntry[]>>();
  for (const entry of entries) {
    const text = [entry.title, entry.own_id, entry.description, entry.mission, entry.provider_title, ...(entry.keywords ?? [])].join(" ").toLowerCase();
    if (!wanted.every((word) => text.includes(word))) continue;
    const group = groups.get(entry.mission) ?? new Map<string, CollectionEntry[]>();
    const key = entry.own_id.toLowerCase();
    group.set(key, [...(group.get(key) ?? []), entry]);
    groups.set(entry.mission, group);
  }
  return [...groups]
    .map(([name, group]) => ({
      name: name || other,
      last: !name,
      choices: [...group].map(([key, same]) => choiceOf(key, same)).sort((a, b) => a.title.localeCompare(b.title)),
    }))
    .sort((a, b) => Number(a.last) - Number(b.last) || a.name.localeCompare(b.name, undefined, { numeric: true }));
}

/** The collections of all archives: asked for once, and anew when that failed or is wanted. */
export function collectionsOf(session: Session, anew = false): Promise<CollectionList> {
  const kept = session.part<{ list: Promise<CollectionList> | null }>("catalogue:collections", () => ({ list: null }));
  if (!kept.list || anew) {
    const asked = session.api.get("/catalog/collections", {});
    asked.catch(() => (kept.list = null));
    kept.list = asked;
  }
  return kept.list;
}
