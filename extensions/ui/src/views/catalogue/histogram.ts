/** How much there is when, gathered from the lines of the server. */

import type { BinsLine, HistogramLine } from "../../api/schema";

export interface HistogramBin {
  /** First and last day. */
  from: string;
  to: string;
  count: number;
  /** There may be more. */
  atLeast: boolean;
}

export interface Histogram {
  step: BinsLine["step"];
  bins: HistogramBin[];
  /** Those that could not count, with why. */
  failed: { title: string; error: string }[];
}

const DAY = 86_400_000;

/** What is known after a further line; null before the first. */
export function withLine(before: Histogram | null, line: HistogramLine): Histogram | null {
  if (line.type === "bins") {
    return {
      step: line.step,
      failed: [],
      bins: line.bins.map(({ start, end }) => ({
        from: start.slice(0, 10),
        // An end is the first moment that is not in it.
        to: new Date(Math.max(Date.parse(start), Date.parse(end) - 1)).toISOString().slice(0, 10),
        count: 0,
        atLeast: false,
      })),
    };
  }
  if (!before) return null;
  if (line.type === "count") {
    const bins = before.bins.map((bin, place) =>
      place === line.place ? { ...bin, count: bin.count + line.count, atLeast: bin.atLeast || line.at_least } : bin,
    );
    return { ...before, bins };
  }
  if (line.type === "report" && line.status !== "ok" && line.status !== "skipped") {
    return { ...before, failed: [...before.failed, { title: line.title, error: line.error }] };
  }
  return before;
}

/** The sum, and whether there may be more. */
export function total({ bins }: Histogram): { count: number; atLeast: boolean } {
  return { count: bins.reduce((sum, bin) => sum + bin.count, 0), atLeast: bins.some((bin) => bin.atLeast) };
}

/** Whether a bin lies in the days from and to; an open end is no bound. */
export function isWithin({ from, to }: Pick<HistogramBin, "from" | "to">, days: { from: string; to: string }): boolean {
  return (!days.from || to >= days.from) && (!days.to || from <= days.to);
}

/**
 * The days that are counted where none are filled in: those that the chosen collections span, if they
 * are not of the last years, which are counted without being asked for.
 */
export function spanOf(chosen: readonly { interval?: (string | null)[][] | undefined }[], now: number = Date.now()): { from: string; to: string } {
  const nothing = { from: "", to: "" };
  const spans = chosen.flatMap(({ interval }) => interval ?? []);
  const [starts, ends] = [spans.map(([start]) => start?.slice(0, 10) ?? ""), spans.map(([, end]) => end?.slice(0, 10) ?? "")];
  if (!spans.length || starts.includes("") || ends.includes("")) return nothing;
  const [from, to] = [starts.sort()[0] ?? "", ends.sort().at(-1) ?? ""];
  return Date.parse(to) < now - 30 * DAY ? { from, to } : nothing;
}

/** Whether some day is longer ago than what is counted where no date is given. */
export function isLongAgo(day: string, now: number = Date.now()): boolean {
  return day !== "" && Date.parse(day) < now - 5 * 365 * DAY;
}
