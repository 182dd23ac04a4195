/** A whole STAC item as a person reads it. What it says was written by others: nothing is taken for granted. */

/** A STAC item as its archive gives it. */
export type Item = Record<string, unknown>;

export interface Place {
  /** What it is: an archive's id, `https`, `s3`, `mount`. */
  name: string;
  href: string;
}

export interface AssetEntry {
  key: string;
  title: string;
  type: string;
  roles: string[];
  /** Bytes; null: not said. */
  size: number | null;
  places: Place[];
}

export interface ItemText {
  id: string;
  title: string;
  description: string;
  datetime: string;
  provider: string;
  /** Name and value, both as text. */
  facts: [name: string, value: string][];
  assets: AssetEntry[];
  /** Where the same product is, too. */
  mirrors: { provider: string; assets: AssetEntry[] }[];
}

type Json = Record<string, unknown>;

const LONG = 600;
const MOST_ASSETS = 200;
const MOST_FACTS = 120;
// Shown elsewhere, or of use to programs only.
const NO_FACTS = /^(datetime|title|description|geometry|proj:(geometry|bbox|transform|shape|centroid)|processing:software|providers|auth:schemes|storage:schemes)$/;

function object(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function text(value: unknown): string {
  return typeof value === "string" ? (value.length > LONG ? `${value.slice(0, LONG)}…` : value) : "";
}

function shown(value: unknown): string {
  if (typeof value === "string") return text(value);
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(8)));
  if (Array.isArray(value) && value.every((each) => typeof each !== "object")) return text(value.map(String).join(", "));
  return text(JSON.stringify(value) ?? "");
}

function placesOf(asset: Json): Place[] {
  const places: Place[] = typeof asset.href === "string" ? [{ name: "", href: asset.href }] : [];
  for (const [name, alternate] of Object.entries(object(asset.alternate))) {
    const { href } = object(alternate);
    if (typeof href === "string" && !places.some((place) => place.href === href)) places.push({ name, href });
  }
  return places;
}

function assetsOf(item: Json): AssetEntry[] {
  return Object.entries(object(item.assets))
    .slice(0, MOST_ASSETS)
    .map(([key, value]) => {
      const asset = object(value);
      const size = asset["file:size"];
      return {
        key: text(key),
        title: text(asset.title),
        type: text(asset.type),
        roles: Array.isArray(asset.roles) ? asset.roles.filter((role): role is string => typeof role === "string").slice(0, 10) : [],
        size: typeof size === "number" && size >= 0 ? size : null,
        places: placesOf(asset),
      };
    });
}

export function itemText(document: unknown): ItemText {
  const item = object(document);
  const properties = object(item.properties);
  const mirrors = Array.isArray(item["cscale:mirrors"]) ? item["cscale:mirrors"] : [];
  return {
    id: text(item.id),
    title: text(properties.title),
    description: text(properties.description),
    datetime: text(properties.datetime) || [text(properties.start_datetime), text(properties.end_datetime)].filter(Boolean).join(" – "),
    provider: text(item["cscale:provider"]),
    facts: Object.entries(properties)
      .filter(([name, value]) => !NO_FACTS.test(name) && value !== null && value !== "")
      .slice(0, MOST_FACTS)
      .map(([name, value]) => [text(name), shown(value)]),
    assets: assetsOf(item),
    mirrors: mirrors.slice(0, 20).map((mirror) => ({ provider: text(object(mirror)["cscale:provider"]), assets: assetsOf(object(mirror)) })),
  };
}
