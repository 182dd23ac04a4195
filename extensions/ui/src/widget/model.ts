/** The traits that `cscale_widget.Panel` shares with its views. */

import type { Comm } from "../transport/comm";
import type { Area } from "../state/session";

export interface Traits {
  /** Names the server that the kernel asks. */
  server: string;
  /** Pixels. */
  height: number;
  basemap_url: string;
  basemap_attribution: string;
  view: string;
  /** GeoJSON geometry; null: none. */
  area: Area | null;
  /** Interval as STAC has it; empty: any time. */
  datetime: string;
  /** References of the selected items. */
  selection: string[];
}

export interface AnyModel extends Comm {
  get<K extends keyof Traits>(name: K): Traits[K];
  set<K extends keyof Traits>(name: K, value: Traits[K]): void;
  save_changes(): void;
  on(event: "msg:custom", heard: (content: unknown, buffers: DataView[]) => void): void;
  on(event: "comm_live_update", heard: () => void): void;
  on(event: `change:${keyof Traits}`, heard: () => void): void;
  off(event: "msg:custom", heard: (content: unknown, buffers: DataView[]) => void): void;
  off(event: `change:${keyof Traits}`, heard: () => void): void;
}
