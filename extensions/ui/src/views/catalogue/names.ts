/** What archives and collections are called by those who have them; their ids until that is known. */

import { useMemo } from "preact/hooks";
import type { CollectionList } from "../../api/schema";
import { useAsked, useSession } from "../../state/hooks";
import { collectionsOf, isNamed } from "./collections";

export interface Names {
  archive: (provider: string) => string;
  collection: (provider: string, collection: string) => string;
  /** Of a collection as searches take it: `PROVIDER|id`. */
  choice: (name: string) => string;
}

export function namesOf(list: CollectionList | undefined): Names {
  const archives = new Map((list?.providers ?? []).map(({ id, title }) => [id, title]));
  const all = list?.collections ?? [];
  const elsewhere = new Map(all.filter(isNamed).map(({ own_id, title }) => [own_id, title]));
  const collections = new Map(all.map((entry) => [entry.id, isNamed(entry) ? entry.title : elsewhere.get(entry.own_id)]));
  const choice = (name: string) => collections.get(name) || name.slice(name.indexOf("|") + 1);
  return {
    archive: (provider) => archives.get(provider) || provider,
    collection: (provider, collection) => choice(`${provider}|${collection}`),
    choice,
  };
}

export function useNames(): Names {
  const session = useSession();
  const { value } = useAsked([session], () => collectionsOf(session));
  return useMemo(() => namesOf(value), [value]);
}
