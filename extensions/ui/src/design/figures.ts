/** Numbers and moments as people read them. */

/** Bytes, in units of a thousand. */
export function bytes(size: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [size, 0];
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit && value < 100 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** An amount of memory as Spark writes it, such as 2867m or 8g. */
export function memory(amount: string): string {
  const [, digits = "", unit] = /^(\d+)([mg])$/.exec(amount) ?? [];
  if (!digits) return amount;
  const mebibytes = Number(digits) * (unit === "g" ? 1024 : 1);
  return mebibytes < 1024 ? `${mebibytes} MiB` : `${Number((mebibytes / 1024).toFixed(1))} GiB`;
}

/** A moment by the clock of who looks at it; empty where there is none. */
export function moment(time: string | null | undefined): string {
  const read = new Date(time ?? "");
  return Number.isNaN(read.getTime()) ? "" : read.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
