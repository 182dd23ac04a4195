/** Result items of a job as a person reads them. Nothing that they say is taken for granted. */

export interface ResultFile {
  key: string;
  title: string;
  type: string;
  /** Bytes; null: not said. */
  size: number | null;
  /** Every address, the first the main one. */
  hrefs: string[];
}

export interface Result {
  id: string;
  title: string;
  /** Its day, or its first and last one. */
  days: string;
  /** Its name for the routes of layers. */
  layer: string;
  files: ResultFile[];
}

type Json = Record<string, unknown>;

const MOST_FILES = 200;

function object(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 600) : "";
}

/** What the routes of layers call a result item. */
export function jobLayer(job: string, item: string): string {
  return `job|${encodeURIComponent(job)}|${encodeURIComponent(item)}`;
}

function daysOf({ datetime, start_datetime, end_datetime }: Json): string {
  const day = (value: unknown) => text(value).slice(0, 10);
  const [first, last] = [day(start_datetime), day(end_datetime)];
  return first && last && first !== last ? `${first} – ${last}` : day(datetime) || first || last;
}

export function resultOf(job: string, document: unknown): Result {
  const item = object(document);
  const properties = object(item.properties);
  const id = typeof item.id === "string" ? item.id : "";
  return {
    id,
    title: text(properties.title) || text(id),
    days: daysOf(properties),
    layer: jobLayer(job, id),
    files: Object.entries(object(item.assets))
      .slice(0, MOST_FILES)
      .map(([key, value]) => {
        const asset = object(value);
        const size = asset["file:size"];
        const others = Object.values(object(asset.alternate)).map((alternate) => object(alternate).href);
        return {
          key: text(key),
          title: text(asset.title),
          type: text(asset.type),
          size: typeof size === "number" && size >= 0 ? size : null,
          hrefs: [asset.href, ...others].filter((href): href is string => typeof href === "string" && href !== ""),
        };
      }),
  };
}

/** Bucket and key of an `s3://` address. */
export function bucketAndKey(href: string): { bucket: string; key: string } | null {
  const match = /^s3:\/\/([^/]+)\/(.+)$/.exec(href);
  return match?.[1] && match[2] ? { bucket: match[1], key: match[2] } : null;
}

/** The address that a browser can get it from, at once or by a link that is made for it. */
export function bestHref({ hrefs }: ResultFile): string {
  return hrefs.find((href) => href.startsWith("s3://")) ?? hrefs.find((href) => /^https?:\/\//.test(href)) ?? "";
}
