/** Searches and items that the person keeps. */

import type { Area, Session } from "../../state/session";
import { isArea, isText } from "../../state/session";
import type { Store } from "../../state/store";
import { isForm, type Form } from "./form";

export interface SavedSearch {
  id: string;
  name: string;
  form: Form;
  area: Area | null;
  datetime: string;
}

export interface Favourite {
  ref: string;
}

function isSaved(value: unknown): value is SavedSearch {
  const { id, name, form, area, datetime } = (value ?? {}) as Record<string, unknown>;
  return isText(id) && isText(name) && isForm(form) && isArea(area) && isText(datetime);
}

export function savedOf(session: Session): Store<SavedSearch[]> {
  return session.memory.store<SavedSearch[]>("catalogue:saved", [], (value): value is SavedSearch[] => Array.isArray(value) && value.every(isSaved));
}

export interface Favourites {
  store: Store<readonly Favourite[]>;
  toggle(ref: string): void;
}

export function favouritesOf(session: Session): Favourites {
  return session.part("catalogue:favourites", ({ memory }) => {
    const store = memory.store<readonly Favourite[]>(
      "catalogue:favourites",
      [],
      (value): value is Favourite[] => Array.isArray(value) && value.every((each) => isText((each as Favourite | null)?.ref)),
    );
    return {
      store,
      toggle: (ref) => store.set((before) => (before.some((each) => each.ref === ref) ? before.filter((each) => each.ref !== ref) : [...before, { ref }])),
    };
  });
}
