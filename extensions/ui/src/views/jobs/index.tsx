/** The Jobs view: start a job, watch all of them in one list, and look at what came out. */

import type { View } from "../view";
import { JobsView } from "./JobsView";
import { isOpen } from "./listing";

export const jobs: View = {
  id: "jobs",
  icon: "jobs",
  title: (trans) => trans.__("Jobs"),
  component: JobsView,
  badge: (session) => session.jobs.state.get().jobs.filter(isOpen).length,
  badgeOf: (session) => session.jobs.state,
};
