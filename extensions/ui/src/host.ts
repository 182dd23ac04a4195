/** What a place that shows the panel gives it: JupyterLab gives most, a bare page little. */

import type { Translation } from "./i18n";
import type { Keeper } from "./state/memory";
import type { Store } from "./state/store";

/** What a person can set; JupyterLab's settings editor shows the same. */
export interface Preferences {
  /** Address of map tiles with {x}, {y}, {z}; empty: the map that is shipped. */
  basemapUrl: string;
  /** Who made that map, as its licence wants it. */
  basemapAttribution: string;
  /** Items that a search asks for at once. */
  pageSize: number;
}

export const DEFAULT_PREFERENCES: Preferences = { basemapUrl: "", basemapAttribution: "", pageSize: 200 };

/** Code for a notebook; inserted again under the same key, it takes the place of what it was. */
export interface CodeCell {
  key: string;
  code: string;
}

export interface Host {
  translation: Translation;
  keeper: Keeper;
  preferences: Store<Preferences>;
  /** Put code into the notebook that is open; null where there are no notebooks. */
  insertCode: ((cell: CodeCell) => Promise<void>) | null;
  /** The address that opens a search for whoever follows it, made of what `packed` gives; null: there is none. */
  searchLink: ((packed: string) => string) | null;
  /** Open a file or folder of the server; null where nothing can. */
  openPath: ((path: string) => Promise<void>) | null;
  /** Tell a person who may be looking elsewhere; null: within the panel is all there is. */
  notify: ((message: string, kind: "info" | "success" | "error") => void) | null;
}
