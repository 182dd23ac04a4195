/** The Catalogue view. */

import type { View } from "../view";

export const catalogue: View = {
  id: "catalogue",
  icon: "search",
  title: (trans) => trans.__("Catalogue"),
  component: () => <p>…</p>,
};
