/** Results on a map: the value below the pointer, and a click for its series. */

import { useEffect, useRef, useState } from "preact/hooks";
import { asProblem, isAbort } from "../../api/problem";
import { IconButton } from "../../design/controls";
import { useTranslation } from "../../i18n";
import type { Box, Point } from "../../map/geo";
import { CLOSEST, layerRaster } from "../../map/layer-raster";
import type { Raster } from "../../map/port";
import { useMap } from "../../map/use-map";
import { useSession } from "../../state/hooks";
import { valueText } from "./values";

export interface Shown {
  layer: string;
  /** Id of a rendering; empty: the first. */
  show: string;
  opacity: number;
}

interface ResultsMapProps {
  layers: readonly Shown[];
  shown: boolean;
  /** Where a series was asked for. */
  at: Point | null;
  onClick: (at: Point) => void;
}

const REST = 180; // milliseconds for which the pointer rests before a value is asked for
const DOT = 0.0001; // degrees: half the size of a mark

export function ResultsMap({ layers, shown, at, onClick }: ResultsMapProps) {
  const trans = useTranslation();
  const session = useSession();
  const { api } = session;
  const [pointer, setPointer] = useState<Point | null>(null);
  const [element, map] = useMap(
    shown,
    { center: [12, 50], zoom: 4 },
    trans.__("Map of the results. Arrows move it, plus and minus zoom."),
    { clicked: (_, where) => onClick(where), pointed: setPointer },
  );
  const [value, setValue] = useState("");
  const [busy, setBusy] = useState<ReadonlySet<string>>(new Set());
  const [problem, setProblem] = useState("");
  const rasters = useRef(new Map<string, Promise<Raster>>());
  const extent = useRef<Box | null>(null);

  useEffect(() => {
    map?.setFootprints(at ? [{ ref: "at", geometry: mark(at) }] : []);
    map?.mark({ hovered: null, open: at ? "at" : null, selected: new Set() });
  }, [map, at]);

  useEffect(() => {
    if (!map) return;
    let current = true;
    setProblem("");
    const wanted = layers.map(async ({ layer, show, opacity }): Promise<Raster | null> => {
      const key = `${layer} ${show}`;
      let made = rasters.current.get(key);
      if (!made) {
        made = layerRaster(api, layer, show, {
          busy: (waiting) =>
            setBusy((before) => {
              const next = new Set(before);
              if (waiting) next.add(key);
              else next.delete(key);
              return next;
            }),
          failed: (error) => {
            if (!isAbort(error)) setProblem(asProblem(error).message);
          },
        });
        made.catch(() => rasters.current.delete(key));
        rasters.current.set(key, made);
      }
      try {
        return { ...(await made), opacity };
      } catch (error) {
        if (current) setProblem(asProblem(error).message);
        return null;
      }
    });
    void Promise.all(wanted).then((all) => {
      if (!current) return;
      const there = all.filter((raster): raster is Raster => raster !== null);
      map.setRasters(there);
      const first = extent.current === null;
      extent.current = there.at(-1)?.bounds ?? extent.current;
      if (first && extent.current) map.fit(extent.current, CLOSEST);
    });
    return () => void (current = false);
  }, [map, layers]);

  const top = layers.at(-1);
  useEffect(() => {
    setValue("");
    if (!pointer || !top) return;
    const [x, y] = pointer;
    const box = extent.current;
    if (box && (x < box[0] || x > box[2] || y < box[1] || y > box[3])) return;
    const control = new AbortController();
    const timer = setTimeout(() => {
      const query = { show: top.show, longitude: x, latitude: y };
      api.get("/layers/{layer}/point", { path: { layer: top.layer }, query, signal: control.signal }).then(
        (answer) => setValue(valueText(answer.values, trans)),
        () => undefined, // beside the picture there is no value
      );
    }, REST);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [pointer, top?.layer, top?.show]);

  return (
    <div class="cs-map-frame">
      <div class="cs-map" ref={element} />
      <div class="cs-map-tools" role="toolbar" aria-label={trans.__("Map")} aria-orientation="vertical">
        <IconButton icon="plus" label={trans.__("Zoom in")} onClick={() => map?.zoom(1)} />
        <IconButton icon="minus" label={trans.__("Zoom out")} onClick={() => map?.zoom(-1)} />
        <IconButton icon="view" label={trans.__("Show the whole result")} onClick={() => extent.current && map?.fit(extent.current, CLOSEST)} />
        <IconButton
          icon="target"
          label={trans.__("Values over time in the middle of the map")}
          disabled={!map || !layers.length}
          onClick={() => {
            if (!map) return;
            const [west, south, east, north] = map.bounds;
            onClick([(west + east) / 2, (south + north) / 2]);
          }}
        />
      </div>
      {busy.size > 0 && (
        <div class="cs-results-value" role="status">
          <span class="cs-spinner" aria-hidden="true" /> {trans.__("Drawing…")}
        </div>
      )}
      {problem && !busy.size && (
        <div class="cs-results-value cs-wrong" role="alert">
          {trans.__("It cannot be drawn: %1", problem)}
        </div>
      )}
      {value && !busy.size && !problem && <div class="cs-results-value">{value}</div>}
    </div>
  );
}

function mark([x, y]: Point): object {
  return {
    type: "Polygon",
    coordinates: [
      [
        [x - DOT, y - DOT],
        [x + DOT, y - DOT],
        [x + DOT, y + DOT],
        [x - DOT, y + DOT],
        [x - DOT, y - DOT],
      ],
    ],
  };
}
