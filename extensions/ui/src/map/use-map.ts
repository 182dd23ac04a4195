/** A map in a component: made with it and taken away with it; its size, colours and basemap follow. */

import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useTranslation } from "../i18n";
import { useSession, useStore } from "../state/hooks";
import { leafletMap } from "./leaflet-map";
import type { Camera, MapEvents, MapPort } from "./port";

const nothing = () => undefined;

/**
 * @param shown whether the component can be seen
 * @param camera where the map begins
 * @param label its name for those who do not see it
 * @param events what it tells; those of the first rendering are told
 * @returns the element it is put into, and the map once it is there
 */
export function useMap(
  shown: boolean,
  camera: Camera,
  label: string,
  events: Partial<MapEvents>,
): readonly [RefObject<HTMLDivElement>, MapPort | null] {
  const trans = useTranslation();
  const element = useRef<HTMLDivElement>(null);
  const [map, setMap] = useState<MapPort | null>(null);
  const { basemapUrl, basemapAttribution } = useStore(useSession().host.preferences);
  useEffect(() => {
    if (!element.current) return;
    const made = leafletMap(
      element.current,
      camera,
      { moved: nothing, hovered: nothing, clicked: nothing, drawn: nothing, ...events },
      { map: label, corner: (number) => trans.__("Corner %1", number) },
    );
    setMap(made);
    const sizes = new ResizeObserver(() => made.resized());
    sizes.observe(element.current);
    // The theme's colours change with an attribute of the page.
    const theme = new MutationObserver(() => made.recolour());
    theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
    return () => {
      sizes.disconnect();
      theme.disconnect();
      made.dispose();
    };
  }, []);
  useEffect(() => map?.setBasemap(basemapUrl, basemapAttribution), [map, basemapUrl, basemapAttribution]);
  useEffect(() => {
    if (shown) map?.resized();
  }, [map, shown]);
  return [element, map];
}
