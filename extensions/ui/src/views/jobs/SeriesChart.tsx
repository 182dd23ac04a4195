/** The values at a place over time, drawn as they come. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { linesOf } from "../../api/client";
import { asProblem, isAbort, type ApiProblem } from "../../api/problem";
import type { SeriesLine, ValueLine } from "../../api/schema";
import { IconButton, SelectField } from "../../design/controls";
import { ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import type { Point } from "../../map/geo";
import { useSession } from "../../state/hooks";
import { number, seriesOf, type Series } from "./values";

interface SeriesChartProps {
  at: Point;
  layers: readonly string[];
  show: string;
  onClose: () => void;
}

export function SeriesChart({ at, layers, show, onClose }: SeriesChartProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const [lines, setLines] = useState<readonly ValueLine[]>([]);
  const [failed, setFailed] = useState<readonly string[]>([]);
  const [ended, setEnded] = useState(false);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const [turn, setTurn] = useState(0);
  const [name, setName] = useState("");
  const [longitude, latitude] = at;
  useEffect(() => {
    const control = new AbortController();
    setLines([]);
    setFailed([]);
    setEnded(false);
    setProblem(null);
    const read = async () => {
      const body = { layers: [...layers], longitude, latitude, show };
      const response = await api.raw("layers/series", { method: "POST", body, signal: control.signal });
      for await (const line of linesOf<SeriesLine>(response)) {
        if (control.signal.aborted) return;
        if (line.type === "value") setLines((before) => [...before, line]);
        else if (line.type === "failed") setFailed((before) => [...before, line.message]);
      }
      setEnded(true);
    };
    read().catch((thrown: unknown) => {
      if (!isAbort(thrown) && !control.signal.aborted) setProblem(asProblem(thrown));
    });
    return () => control.abort();
  }, [longitude, latitude, layers.join(" "), show, turn]);
  const all = useMemo(() => seriesOf(lines), [lines]);
  const series = all.find((each) => each.name === name) ?? all[0];
  return (
    <section class="cs-series" aria-label={trans.__("Values over time")}>
      <div class="cs-series-head">
        <strong>{trans.__("%1 at %2, %3", series?.name ?? trans.__("Values"), latitude.toFixed(4), longitude.toFixed(4))}</strong>
        {all.length > 1 && (
          <SelectField quiet label={trans.__("Which value")} value={series?.name ?? ""} options={all.map((each) => [each.name, each.name] as const)} onValue={setName} />
        )}
        <span class="cs-spacer" />
        <IconButton icon="close" label={trans.__("Close the values")} onClick={onClose} />
      </div>
      {problem && <ProblemNote problem={problem} retry={() => setTurn(turn + 1)} />}
      {!ended && !problem && <Waiting>{trans.__("Reading the values…")}</Waiting>}
      {ended && !series && !failed.length && <p class="cs-hint">{trans.__("There is no value here. Click within the picture.")}</p>}
      {series && series.points.length === 1 && (
        <p>
          <strong>{`${number(series.points[0]?.value ?? 0)} ${series.unit}`}</strong> <span class="cs-hint">{trans.__("at one time only")}</span>
        </p>
      )}
      {series && series.undated.length > 0 && (
        <p>
          <strong>{series.undated.map((value) => `${number(value)} ${series.unit}`.trim()).join(" · ")}</strong> <span class="cs-hint">{trans.__("without a date")}</span>
        </p>
      )}
      {series && series.points.length > 1 && <Chart series={series} />}
      {failed.length > 0 && <p class="cs-hint cs-wrong">{trans._n("%1 could not be read: %2", "%1 could not be read, the first: %2", failed.length, failed[0])}</p>}
    </section>
  );
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [640, 150, 62, 14, 10, 24];

function Chart({ series }: { series: Series }) {
  const trans = useTranslation();
  const { points, name, unit } = series;
  const times = points.map(({ time }) => time);
  const values = points.map(({ value }) => value);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (time: number) => LEFT + ((time - from) / (to - from || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value: number) => TOP + (1 - (value - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  return (
    <>
      <svg class="cs-series-chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={trans.__("%1 from %2 to %3, between %4 and %5", name, day(from), day(to), number(low), number(high))}>
        <path class="cs-series-axis" d={`M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}`} fill="none" />
        <text x={LEFT - 5} y={TOP + 8} text-anchor="end">
          {number(high)}
        </text>
        <text x={LEFT - 5} y={HEIGHT - BOTTOM} text-anchor="end">
          {number(low)}
        </text>
        <text x={LEFT} y={HEIGHT - 6}>
          {day(from)}
        </text>
        <text x={WIDTH - RIGHT} y={HEIGHT - 6} text-anchor="end">
          {day(to)}
        </text>
        <path class="cs-series-line" d={points.map(({ time, value }, index) => `${index ? "L" : "M"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`).join("")} />
        {points.map(({ time, value }) => (
          <circle key={time} class="cs-series-point" cx={x(time)} cy={y(value)} r={3}>
            <title>{`${day(time)}: ${number(value)} ${unit}`}</title>
          </circle>
        ))}
      </svg>
      <details>
        <summary>{trans.__("As a table")}</summary>
        <table class="cs-graph-nodes">
          <thead>
            <tr>
              <th>{trans.__("Day")}</th>
              <th>
                {name} {unit}
              </th>
            </tr>
          </thead>
          <tbody>
            {points.map(({ time, value }) => (
              <tr key={time}>
                <td>{day(time)}</td>
                <td>{number(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </>
  );
}
