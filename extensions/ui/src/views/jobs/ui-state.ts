/** What the parts of the Jobs view show to each other; there again after a reload where it helps. */

import { isText, type Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";
import { ANYTHING, isListing, type Listing } from "./listing";

export interface JobsUi {
  /** The job whose details are shown; empty: none. */
  open: Store<string>;
  /** Which part of the details is shown. */
  part: Store<string>;
  /** Whether a new job is being made. */
  making: Store<boolean>;
  /** Which kind of new job is being made. */
  kind: Store<string>;
  listing: Store<Listing>;
  /** Groups of the list that are folded. */
  folded: Store<readonly string[]>;
}

export function jobsUi(session: Session): JobsUi {
  return session.part("jobs:ui", ({ memory }) => ({
    open: memory.store("jobs:open", "", isText),
    part: memory.store("jobs:part", "overview", isText),
    making: memory.store("jobs:making", false, (value): value is boolean => typeof value === "boolean"),
    kind: memory.store("jobs:kind", "workflow", isText),
    listing: memory.store("jobs:listing", ANYTHING, isListing),
    folded: createStore<readonly string[]>([]),
  }));
}

/** Show a job's details. */
export function openJob(session: Session, id: string, part = "overview"): void {
  const ui = jobsUi(session);
  ui.making.set(false);
  ui.part.set(part);
  ui.open.set(id);
}

/** Show where a new job is made. */
export function newJob(session: Session): void {
  jobsUi(session).making.set(true);
}
