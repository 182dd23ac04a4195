/** A map that remembers what it was told, for `vi.mock("../src/map/leaflet-map")`. */

import type { Box } from "../src/map/geo";
import type { Camera, Footprint, MakeMap, MapEvents, MapPort, Raster } from "../src/map/port";

export class FakeMap implements MapPort {
  bounds: Box = [0, 40, 20, 60];
  footprints: readonly Footprint[] = [];
  rasters: readonly Raster[] = [];
  marks: Parameters<MapPort["mark"]>[0] = { hovered: null, open: null, selected: new Set() };
  area: unknown = null;
  mode: string | null = null;
  swipe: number | null = null;
  fitted: Box | null = null;
  basemap = "";

  constructor(readonly events: MapEvents) {}
  setCamera(_: Camera): void {}
  fit(box: Box): void {
    this.fitted = box;
  }
  zoom(): void {}
  setArea(area: unknown): void {
    this.area = area;
  }
  draw(mode: string | null): void {
    this.mode = mode;
  }
  setFootprints(footprints: readonly Footprint[]): void {
    this.footprints = footprints;
  }
  mark(marks: Parameters<MapPort["mark"]>[0]): void {
    this.marks = marks;
  }
  setRasters(rasters: readonly Raster[]): void {
    this.rasters = rasters;
  }
  setSwipe(position: number | null): void {
    this.swipe = position;
  }
  setBasemap(url: string): void {
    this.basemap = url;
  }
  resized(): void {}
  recolour(): void {}
  dispose(): void {}
}

/** The maps that were made, the last one last. */
export const maps: FakeMap[] = [];

export const leafletMap: MakeMap = (_element, _camera, events) => {
  const map = new FakeMap(events);
  maps.push(map);
  return map;
};
