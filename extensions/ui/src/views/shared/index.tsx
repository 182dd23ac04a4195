/** The Shared view: notebooks of the person's virtual organisations, to look at, to open, to publish. */

import type { View } from "../view";
import { SharedView } from "./SharedView";

export const shared: View = {
  id: "shared",
  icon: "shared",
  title: (trans) => trans.__("Shared"),
  component: SharedView,
};
