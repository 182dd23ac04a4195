/** What a job used, in words: openEO back ends name and measure as they like, Slurm as Slurm does. */

import type { JobSummary } from "../../api/schema";
import { bytes } from "../../design/figures";
import type { Translation } from "../../i18n";
import { duration } from "./words";

const MOST = 12;
const SECONDS: Record<string, number> = { second: 1, minute: 60, hour: 3600, day: 86_400 };
const BYTES: Record<string, number> = { b: 1, byte: 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

type Figure = [name: string, text: string];

export function usageOf({ spec, usage }: Pick<JobSummary, "spec" | "usage">, trans: Translation): Figure[] {
  if (spec.engine === "slurm") return slurm(usage["slurm"], trans);
  if (spec.engine !== "openeo") return [];
  return Object.entries(usage)
    .map(([name, value]): Figure => [nameOf(name, trans), amount(name, value, trans)])
    .filter(([, text]) => text)
    .slice(0, MOST);
}

function nameOf(name: string, trans: Translation): string {
  switch (name) {
    case "cpu":
      return trans.__("Processors' time");
    case "duration":
      return trans.__("Computed for");
    case "memory":
      return trans.__("Memory");
    case "disk":
    case "storage":
      return trans.__("Storage");
    case "network":
      return trans.__("Network");
    default:
      return (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ").slice(0, 60);
  }
}

/** `{"value": 77.4, "unit": "seconds"}`, or a bare number. */
function amount(name: string, told: unknown, trans: Translation): string {
  const { value, unit: said } = typeof told === "number" ? { value: told, unit: "" } : object(told);
  if (typeof value !== "number" || !Number.isFinite(value)) return typeof told === "string" ? told.slice(0, 100) : "";
  const unit = typeof said === "string" ? said.trim().slice(0, 40) : "";
  const one = unit.toLowerCase().replace(/^cpu-/, "").replace(/s$/, "");
  const seconds = SECONDS[one];
  if (seconds) return duration(value * seconds, trans);
  const size = BYTES[unit.toLowerCase()] ?? BYTES[one];
  if (size) return bytes(value * size);
  const number = value.toLocaleString(undefined, { maximumFractionDigits: 2 });
  return unit && unit.toLowerCase() !== name.toLowerCase() ? `${number} ${unit}` : number;
}

function slurm(told: unknown, trans: Translation): Figure[] {
  const { tasks, seconds, cpu_seconds, memory, nodes } = object(told);
  const figures: [string, unknown, (value: number) => string][] = [
    [trans.__("Tasks"), tasks, String],
    [trans.__("Time of all tasks"), seconds, (value) => duration(value, trans)],
    [trans.__("Processors' time"), cpu_seconds, (value) => duration(value, trans)],
    [trans.__("Memory at most"), memory, bytes],
  ];
  const shown = figures.flatMap(([name, value, words]): Figure[] => (typeof value === "number" ? [[name, words(value)]] : []));
  return typeof nodes === "string" && nodes ? [...shown, [trans.__("Nodes"), nodes.slice(0, 200)]] : shown;
}

function object(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
