/** What the parts of the Catalogue view show to each other; there again after a reload where it helps. */

import type { Box } from "../../map/geo";
import type { Camera, DrawMode } from "../../map/port";
import { isText, type Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";

export interface CatalogueUi {
  /** Which of the small tabs is shown. */
  pane: Store<string>;
  /** The item whose details are shown; empty: none. */
  open: Store<string>;
  hovered: Store<string | null>;
  /** What the pointer is over on the map, for the list to bring into sight. */
  pointed: Store<string | null>;
  camera: Store<Camera>;
  bounds: Store<Box | null>;
  drawing: Store<DrawMode>;
  /** Bring this into view. */
  fit: Store<Box | null>;
  /** Days that are shown of what was found; null: all. */
  window: Store<readonly [from: string, to: string] | null>;
  /** Whether results were shown, so that a reload asks for them again. */
  asked: Store<boolean>;
}

const EUROPE: Camera = { center: [12, 50], zoom: 4 };

function isCamera(value: unknown): value is Camera {
  const { center, zoom } = (value ?? {}) as { center?: unknown; zoom?: unknown };
  return Array.isArray(center) && center.length === 2 && center.every(Number.isFinite) && Number.isFinite(zoom);
}

export function catalogueUi(session: Session): CatalogueUi {
  return session.part("catalogue:ui", ({ memory }) => ({
    pane: memory.store("catalogue:pane", "search", isText),
    open: memory.store("catalogue:open", "", isText),
    hovered: createStore<string | null>(null),
    pointed: createStore<string | null>(null),
    camera: memory.store("catalogue:camera", EUROPE, isCamera),
    bounds: createStore<Box | null>(null),
    drawing: createStore<DrawMode>(null),
    fit: createStore<Box | null>(null),
    window: createStore<readonly [string, string] | null>(null),
    asked: memory.store("catalogue:asked", false, (value): value is boolean => typeof value === "boolean"),
  }));
}
