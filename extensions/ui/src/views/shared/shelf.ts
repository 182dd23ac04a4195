/** What of the shared notebooks is shown, there again after a reload. */

import { isText, type Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";

export interface Shelf {
  text: Store<string>;
  /** One VO; empty: all. */
  vo: Store<string>;
  mine: Store<boolean>;
  /** Reference of the notebook that is looked at; empty: the gallery. */
  open: Store<string>;
  /** Grows when something was published or taken down: the gallery asks again. */
  changed: Store<number>;
}

const isFlag = (value: unknown): value is boolean => typeof value === "boolean";

export function shelfOf(session: Session): Shelf {
  return session.part("shared:shelf", ({ memory }) => ({
    text: memory.store("shared:text", "", isText),
    vo: memory.store("shared:vo", "", isText),
    mine: memory.store("shared:mine", false, isFlag),
    open: memory.store("shared:open", "", isText),
    changed: createStore(0),
  }));
}
