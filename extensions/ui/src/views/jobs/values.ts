/** Values of layers as text, and as lines over time. */

import type { NamedValue, ValueLine } from "../../api/schema";
import type { Translation } from "../../i18n";

export function number(value: number): string {
  return String(Number(value.toPrecision(4)));
}

export function valueText(values: readonly NamedValue[], trans: Translation): string {
  return values
    .slice(0, 6)
    .map(({ name, value, unit }) => `${name}: ${value === null ? trans.__("no value") : `${number(value)} ${unit}`.trim()}`)
    .join(" · ");
}

export interface Series {
  name: string;
  unit: string;
  /** In the order of time. */
  points: { time: number; value: number }[];
  /** Values of layers without a date. */
  undated: number[];
}

/** Values by their names, in the order of time; what has no value is left out. */
export function seriesOf(lines: readonly ValueLine[]): Series[] {
  const all = new Map<string, Series>();
  for (const { datetime, values } of lines) {
    const time = Date.parse(datetime ?? "");
    for (const { name, value, unit } of values) {
      if (value === null || !Number.isFinite(value)) continue;
      const series = all.get(name) ?? { name, unit, points: [], undated: [] };
      if (Number.isNaN(time)) series.undated.push(value);
      else series.points.push({ time, value });
      all.set(name, series);
    }
  }
  for (const series of all.values()) series.points.sort((a, b) => a.time - b.time);
  return [...all.values()];
}
