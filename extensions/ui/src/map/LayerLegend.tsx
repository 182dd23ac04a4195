/** What the colours of a layer mean. */

import { useAsked, useSession } from "../state/hooks";

export function LayerLegend({ layer, show, wanted = true }: { layer: string; show: string; wanted?: boolean }) {
  const { api } = useSession();
  const { value } = useAsked(
    [layer, show, wanted],
    wanted ? (signal) => api.get("/layers/{layer}/legend", { path: { layer }, query: { show }, signal }) : null,
  );
  if (!value || value.kind === "colours" || !value.stops.length) return null;
  if (value.kind === "classes") {
    return (
      <ul class="cs-legend-classes">
        {value.stops.map(({ value: number, colour, label }) => (
          <li key={number}>
            <span class="cs-legend-colour" style={{ background: colour }} /> {label || number}
          </li>
        ))}
      </ul>
    );
  }
  const [first, last] = [value.stops[0], value.stops.at(-1)];
  return (
    <div class="cs-legend">
      <span>{rounded(first?.value)}</span>
      <span class="cs-legend-scale" style={{ background: `linear-gradient(90deg, ${value.stops.map(({ colour }) => colour).join(", ")})` }} />
      <span>
        {rounded(last?.value)} {value.unit}
      </span>
    </div>
  );
}

function rounded(value: number | undefined): string {
  return value === undefined ? "" : String(Number(value.toPrecision(3)));
}
