/** Tiles of pictures that the server draws; what is not seen any more is not asked for any more. */

import * as L from "leaflet";
import type { Raster } from "./port";

export class RasterLayer extends L.GridLayer {
  private readonly loads = new WeakMap<HTMLElement, { control: AbortController; url: string }>();

  constructor(readonly raster: Raster) {
    const { bounds, maxZoom, minZoom, opacity } = raster;
    super({
      pane: "rasters",
      opacity,
      minNativeZoom: minZoom,
      maxNativeZoom: maxZoom,
      maxZoom: 22,
      updateWhenZooming: false,
      keepBuffer: 1,
      bounds: bounds
        ? L.latLngBounds([
            [bounds[1], bounds[0]],
            [bounds[3], bounds[2]],
          ])
        : undefined,
    });
    this.on("loading", () => raster.busy(true)).on("load", () => raster.busy(false)).on("remove", () => raster.busy(false));
    this.on("tileunload", ({ tile }) => this.drop(tile as HTMLElement));
  }

  protected override createTile(coords: L.Coords, done: L.DoneCallback): HTMLElement {
    const image = document.createElement("img");
    image.alt = "";
    const control = new AbortController();
    const load = { control, url: "" };
    this.loads.set(image, load);
    const around = 2 ** coords.z;
    const column = ((coords.x % around) + around) % around;
    this.raster
      .load(coords.z, column, coords.y, control.signal)
      .then((picture) => {
        if (control.signal.aborted || !picture) {
          done(undefined, image);
          return;
        }
        load.url = URL.createObjectURL(picture);
        image.onload = image.onerror = () => done(undefined, image);
        image.src = load.url;
      })
      .catch((error: unknown) => {
        done(error instanceof Error ? error : new Error(String(error)), image);
        if (!control.signal.aborted) this.raster.failed(error);
      });
    return image;
  }

  private drop(tile: HTMLElement): void {
    const load = this.loads.get(tile);
    load?.control.abort();
    if (load?.url) URL.revokeObjectURL(load.url);
    this.loads.delete(tile);
  }
}
