/** A layer of the server (the picture of an item, a result or an object) as tiles for a map. */

import type { Api } from "../api/client";
import { API } from "../transport/transport";
import type { Box } from "./geo";
import type { Raster } from "./port";

/** The zoom at which a small layer is shown whole. */
export const CLOSEST = 17;

/**
 * @param layer its name, as `item|…`, `job|…` or `object|…`.
 * @param show id of a rendering; empty: the first.
 */
export async function layerRaster(api: Api, layer: string, show: string, told: Pick<Raster, "busy" | "failed">): Promise<Raster> {
  const { tiles, bounds, minzoom, maxzoom } = await api.get("/layers/{layer}/tilejson", { path: { layer }, query: { show } });
  const template = tiles[0] ?? "";
  const relative = template.slice(template.indexOf(`/${API}`) + API.length + 1);
  return {
    id: `${layer} ${show}`,
    bounds: bounds as unknown as Box,
    minZoom: minzoom,
    maxZoom: Math.max(minzoom, maxzoom),
    opacity: 1,
    load: async (z, x, y, signal) => {
      const path = relative.replace("{z}", String(z)).replace("{x}", String(x)).replace("{y}", String(y));
      const response = await api.raw(path, { accept: "image/png", signal });
      return response.status === 204 ? null : response.blob();
    },
    ...told,
  };
}
