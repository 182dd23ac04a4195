/** The Catalogue view: search every archive on a map, look at what is there, hand it on. */

import type { View } from "../view";
import { CatalogueView } from "./CatalogueView";

export const catalogue: View = {
  id: "catalogue",
  icon: "search",
  title: (trans) => trans.__("Catalogue"),
  component: CatalogueView,
};
