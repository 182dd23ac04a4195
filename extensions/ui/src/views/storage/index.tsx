/** The Storage view: the person's places in the object store, what lies there, what comes in and goes out. */

import type { View } from "../view";
import { StorageView } from "./StorageView";
import { uploadsOf } from "./uploads";

export const storage: View = {
  id: "storage",
  icon: "storage",
  title: (trans) => trans.__("Storage"),
  component: StorageView,
  badge: (session) => uploadsOf(session).underWay(),
  badgeOf: (session) => uploadsOf(session).list,
};
