/** The Staging view: what is brought into the buckets, how far it is, and where it was registered. */

import type { View } from "../view";
import { stagings } from "./stagings";
import { StagingView } from "./StagingView";

export const staging: View = {
  id: "staging",
  icon: "stage",
  title: (trans) => trans.__("Staging"),
  component: StagingView,
  badge: (session) => stagings(session.jobs.state.get().jobs).filter(({ ended }) => !ended).length,
  badgeOf: (session) => session.jobs.state,
};
