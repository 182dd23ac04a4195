/** The picture of one object on a map of its own. */

import { useEffect, useState } from "preact/hooks";
import { asProblem, isAbort, type ApiProblem } from "../../api/problem";
import { IconButton, SelectField } from "../../design/controls";
import { ProblemNote } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { CLOSEST, layerRaster } from "../../map/layer-raster";
import { LayerLegend } from "../../map/LayerLegend";
import type { Raster } from "../../map/port";
import { useMap } from "../../map/use-map";
import { useAsked, useSession } from "../../state/hooks";

export function ObjectMap({ layer, name, shown }: { layer: string; name: string; shown: boolean }) {
  const trans = useTranslation();
  const { api } = useSession();
  const [element, map] = useMap(
    shown,
    { center: [12, 50], zoom: 3 },
    trans.__("Map of %1. Arrows move it, plus and minus zoom.", name),
    {},
  );
  const [chosen, setChosen] = useState("");
  const [busy, setBusy] = useState(true);
  const [turn, setTurn] = useState(0);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const [raster, setRaster] = useState<Raster | null>(null);
  const info = useAsked([layer], (signal) => api.get("/layers/{layer}", { path: { layer }, signal }));
  const renderings = info.value?.renderings ?? [];
  const show = chosen || (renderings[0]?.id ?? "");

  useEffect(() => {
    if (!map || !show) return;
    let current = true;
    setProblem(null);
    setBusy(true);
    const failed = (thrown: unknown) => {
      if (!current || isAbort(thrown)) return;
      setProblem(asProblem(thrown));
      setBusy(false);
    };
    layerRaster(api, layer, show, { busy: (waiting) => current && setBusy(waiting), failed }).then((made) => current && setRaster(made), failed);
    return () => void (current = false);
  }, [map, layer, show, turn]);
  useEffect(() => {
    if (!map || !raster) return;
    map.setRasters([raster]);
    if (raster.bounds) map.fit(raster.bounds, CLOSEST);
  }, [map, raster]);

  const why = info.problem ?? problem;
  return (
    <div class="cs-object-map">
      {renderings.length > 1 && (
        <SelectField
          label={trans.__("What is shown")}
          value={show}
          options={renderings.map((each) => [each.id, each.title] as const)}
          onValue={setChosen}
        />
      )}
      {why && <ProblemNote problem={why} retry={() => (info.problem ? info.retry() : setTurn(turn + 1))} />}
      {info.value?.problem && <p class="cs-hint cs-wrong">{trans.__("It cannot be shown: %1", info.value.problem)}</p>}
      <div class="cs-map-frame cs-object-map-frame">
        <div class="cs-map" ref={element} />
        <div class="cs-map-tools" role="toolbar" aria-label={trans.__("Map")} aria-orientation="vertical">
          <IconButton icon="plus" label={trans.__("Zoom in")} onClick={() => map?.zoom(1)} />
          <IconButton icon="minus" label={trans.__("Zoom out")} onClick={() => map?.zoom(-1)} />
          <IconButton icon="view" label={trans.__("Show all of it")} disabled={!raster?.bounds} onClick={() => raster?.bounds && map?.fit(raster.bounds, CLOSEST)} />
        </div>
        {busy && !why && !info.value?.problem && <span class="cs-spinner cs-object-map-busy" role="status" aria-label={trans.__("Loading the picture of %1", name)} />}
      </div>
      <LayerLegend layer={layer} show={show} wanted={show !== ""} />
    </div>
  );
}
