/** Back ends by the names that people know them by. */

import type { Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";

/** Titles by `ENGINE ID`. */
export type Places = ReadonlyMap<string, string>;

/** Asked once for a page; until there is an answer, places are called by their ids. */
export function placesOf(session: Session): Store<Places> {
  return session.part("jobs:places", ({ api }) => {
    const places = createStore<Places>(new Map());
    api.get("/jobs/backends", {}).then(
      ({ backends }) => places.set(new Map(backends.map(({ engine, id, title }) => [`${engine} ${id}`, title]))),
      () => undefined, // where they matter more, it is said why
    );
    return places;
  });
}
