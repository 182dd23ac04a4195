/** The map with its tools: what is searched, what was found, and pictures of it. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import { IconButton } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { areaBox, type Box } from "../../map/geo";
import type { Raster } from "../../map/port";
import { useMap } from "../../map/use-map";
import { useSession, useStore } from "../../state/hooks";
import { extentOf, inWindow } from "./actions";
import { PlaceSearch } from "./PlaceSearch";
import { PreviewControl } from "./PreviewControl";
import { previewsOf } from "./previews";
import { searchOf } from "./search";
import { SwipeLine } from "./SwipeLine";
import { TimeSlider } from "./TimeSlider";
import { catalogueUi } from "./ui-state";

export function MapPane({ shown }: { shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const ui = catalogueUi(session);
  const search = searchOf(session);
  const previews = previewsOf(session);
  const area = useStore(session.area);
  const drawing = useStore(ui.drawing);
  const items = useStore(search.state, (state) => state.items);
  const window = useStore(ui.window);
  const visible = useMemo(() => inWindow(items, window), [items, window]);
  const hovered = useStore(ui.hovered);
  const open = useStore(ui.open);
  const selection = useStore(session.selection);
  const list = useStore(previews.list);
  const swipe = useStore(previews.swipe);
  const fit = useStore(ui.fit);
  const clickedAt = useRef({ refs: "", turn: 0 });
  const [element, map] = useMap(shown, ui.camera.get(), trans.__("Map. Arrows move it, plus and minus zoom."), {
    moved: (camera, bounds) => {
      ui.camera.set(camera);
      ui.bounds.set(bounds);
    },
    hovered: (ref) => {
      ui.hovered.set(ref);
      ui.pointed.set(ref);
    },
    clicked: (refs) => {
      // Clicking again at the same place goes on to what lies below.
      const at = clickedAt.current;
      const same = refs.join(" ") === at.refs;
      at.turn = same ? at.turn + 1 : 0;
      at.refs = refs.join(" ");
      const ref = refs[at.turn % Math.max(1, refs.length)];
      if (!ref) return;
      ui.pane.set("results");
      ui.open.set(ref);
    },
    drawn: (drawn) => {
      ui.drawing.set(null);
      if (drawn) session.area.set(drawn);
    },
    edited: (edited) => session.area.set(edited),
  });

  useEffect(() => {
    if (map) ui.bounds.set(map.bounds);
  }, [map]);
  useEffect(() => map?.setArea(area), [map, area]);
  useEffect(() => map?.draw(drawing), [map, drawing]);
  useEffect(() => map?.setFootprints(visible), [map, visible]);
  useEffect(() => map?.mark({ hovered, open: open || null, selected: new Set(selection) }), [map, hovered, open, selection, visible]);
  useEffect(() => map?.setSwipe(swipe), [map, swipe, list]);
  useEffect(() => {
    if (!map || !fit) return;
    map.fit(fit);
    ui.fit.set(null);
  }, [map, fit]);
  useEffect(() => {
    if (!map) return;
    let current = true;
    const wanted = list.map((preview) =>
      previews.raster(preview).catch((error: unknown): Raster | null => {
        previews.failed(preview.ref, error instanceof Error ? error.message : String(error));
        return null;
      }),
    );
    void Promise.all(wanted).then((rasters) => {
      if (current) map.setRasters(rasters.filter((raster): raster is Raster => raster !== null));
      if (current) map.setSwipe(previews.swipe.get());
    });
    return () => void (current = false);
  }, [map, list]);

  const everything = (): Box | null => extentOf(visible) ?? (area && areaBox(area));
  return (
    <div class="cs-map-pane">
      <div class="cs-map-frame">
        <div class="cs-map" ref={element} />
        <div class="cs-map-tools" role="toolbar" aria-label={trans.__("Map")} aria-orientation="vertical">
          <IconButton icon="plus" label={trans.__("Zoom in")} onClick={() => map?.zoom(1)} />
          <IconButton icon="minus" label={trans.__("Zoom out")} onClick={() => map?.zoom(-1)} />
          <IconButton
            icon="view"
            label={visible.length ? trans.__("Show all results") : trans.__("Show the area")}
            disabled={!visible.length && !area}
            onClick={() => ui.fit.set(everything())}
          />
          <IconButton
            icon="rectangle"
            label={trans.__("Draw a rectangle to search in")}
            pressed={drawing === "rectangle"}
            onClick={() => ui.drawing.set(drawing === "rectangle" ? null : "rectangle")}
          />
          <IconButton
            icon="polygon"
            label={trans.__("Draw a polygon to search in")}
            pressed={drawing === "polygon"}
            onClick={() => ui.drawing.set(drawing === "polygon" ? null : "polygon")}
          />
        </div>
        <PlaceSearch />
        <PreviewControl />
        {swipe !== null && list.length >= 2 && <SwipeLine />}
      </div>
      <TimeSlider items={items} />
    </div>
  );
}
