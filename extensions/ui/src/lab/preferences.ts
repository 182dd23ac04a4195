/** The panel's preferences in JupyterLab's settings; the schema is schema/panel.json. */

import { DEFAULT_PREFERENCES, type Preferences } from "../host";

export function readPreferences(composite: Record<string, unknown>): Preferences {
  const { basemap, pageSize } = composite as { basemap?: { url?: unknown; attribution?: unknown }; pageSize?: unknown };
  return {
    basemapUrl: typeof basemap?.url === "string" ? basemap.url : DEFAULT_PREFERENCES.basemapUrl,
    basemapAttribution:
      typeof basemap?.attribution === "string" ? basemap.attribution : DEFAULT_PREFERENCES.basemapAttribution,
    pageSize: typeof pageSize === "number" ? pageSize : DEFAULT_PREFERENCES.pageSize,
  };
}
