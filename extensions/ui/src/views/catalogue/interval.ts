/** Intervals as STAC has them, for fields of dates: `2024-06-01T00:00:00Z/..` and the like. */

const DAY = /^\d{4}-\d\d-\d\d$/;

export interface Days {
  /** `YYYY-MM-DD`; empty: open. */
  from: string;
  to: string;
}

/** The days of an interval; the last one is in it. */
export function daysOf(interval: string): Days {
  const [from = "", to = from] = interval.split("/");
  const day = (text: string) => (DAY.test(text.slice(0, 10)) ? text.slice(0, 10) : "");
  return { from: day(from), to: day(to) };
}

/** The interval from the first moment of a day to the last of another. */
export function intervalOf({ from, to }: Days): string {
  if (!from && !to) return "";
  return `${from ? `${from}T00:00:00Z` : ".."}/${to ? `${to}T23:59:59Z` : ".."}`;
}

/** Why these days are no interval; empty: they are one. */
export function wrongDays({ from, to }: Days): "order" | "" {
  return from && to && to < from ? "order" : "";
}

/** Milliseconds of a day's first moment, in UTC. */
export function dayTime(day: string): number {
  return Date.parse(`${day}T00:00:00Z`);
}

export function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** The days from so many days ago until now, of which the end is open. */
export function lastDays(count: number, now: number = Date.now()): Days {
  return { from: dayOf(now - count * 86_400_000), to: "" };
}
