/** What the views know of a map. `leaflet-map.ts` is one; tests have another. */

import type { Area } from "../state/session";
import type { Box, Point } from "./geo";

/** An outline on the map. */
export interface Footprint {
  ref: string;
  /** GeoJSON; what has no polygons is not drawn. */
  geometry: unknown;
}

/** Pictures from the server, tile by tile. */
export interface Raster {
  id: string;
  bounds: Box | null;
  minZoom: number;
  maxZoom: number;
  opacity: number;
  /** A tile as PNG; null where there is nothing. */
  load: (z: number, x: number, y: number, signal: AbortSignal) => Promise<Blob | null>;
  /** Called when tiles are on their way, and when all are there. */
  busy: (waiting: boolean) => void;
  /** Called when a tile could not be had. */
  failed: (error: unknown) => void;
}

export interface Camera {
  center: Point;
  zoom: number;
}

export type DrawMode = "rectangle" | "polygon" | "edit" | null;

export interface MapEvents {
  /** The view has moved. */
  moved: (camera: Camera, bounds: Box) => void;
  /** What the pointer is over; null: none. */
  hovered: (ref: string | null) => void;
  /** Outlines below a click, the smallest first; none for a click beside them. */
  clicked: (refs: string[], at: Point) => void;
  /** Where the pointer is; null: not on the map. */
  pointed?: (at: Point | null) => void;
  /** A drawing has come to its end; null: given up. */
  drawn: (area: Area | null) => void;
  /** A corner of the area was moved or taken away. */
  edited?: (area: Area) => void;
}

export interface MapPort {
  readonly bounds: Box;
  setCamera(camera: Camera): void;
  /** @param closest the largest zoom that is taken for it */
  fit(box: Box, closest?: number): void;
  zoom(by: 1 | -1): void;
  /** The area that is searched. */
  setArea(area: Area | null): void;
  draw(mode: DrawMode): void;
  setFootprints(footprints: readonly Footprint[]): void;
  /** Which outlines stand out: under the pointer, open, selected. */
  mark(marks: { hovered: string | null; open: string | null; selected: ReadonlySet<string> }): void;
  /** Pictures, the lowest first; those that are there already stay. */
  setRasters(rasters: readonly Raster[]): void;
  /** Show the first picture left of a line and the second right of it; null: both whole. */
  setSwipe(position: number | null): void;
  setBasemap(url: string, attribution: string): void;
  /** The element has another size, or is seen again. */
  resized(): void;
  /** The theme's colours have changed. */
  recolour(): void;
  dispose(): void;
}

export interface MapWords {
  map: string;
  corner: (number: number) => string;
}

export type MakeMap = (element: HTMLElement, camera: Camera, events: MapEvents, words: MapWords) => MapPort;
