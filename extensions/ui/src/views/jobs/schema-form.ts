/** A form from a JSON schema: which fields, what they take from the map, what is wrong. */

import { areaBox } from "../../map/geo";
import type { Area } from "../../state/session";

export type Values = Record<string, unknown>;
type Json = Record<string, unknown>;

export type FieldKind = "bbox" | "period" | "intervals" | "collection" | "choice" | "number" | "boolean" | "texts" | "text" | "json";

export interface FormField {
  name: string;
  kind: FieldKind;
  title: string;
  description: string;
  required: boolean;
  initial: unknown;
  choices: string[];
  min: number | undefined;
  max: number | undefined;
  step: number | "any";
}

function object(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

export interface CollectionName {
  id: string;
  title: string;
}

/** Collections of all archives by their own ids, each once, by title. */
export function knownCollections(entries: readonly { own_id: string; title: string }[]): CollectionName[] {
  const titles = new Map(entries.map(({ own_id, title }) => [own_id, title || own_id]));
  return [...titles].map(([id, title]) => ({ id, title })).sort((a, b) => a.title.localeCompare(b.title));
}

const DAY = /^\d{4}-\d\d-\d\d$/;
const SEARCHED: Record<string, FieldKind> = { bbox: "bbox", period: "period", intervals: "intervals", collection: "collection", bands: "texts" };

/** The fields of a schema of an object, in its order. */
export function fieldsOf(schema: unknown): FormField[] {
  const { properties, required, $defs } = object(schema);
  const needed = Array.isArray(required) ? required : [];
  return Object.entries(object(properties)).map(([name, value]) => {
    const said = object(value);
    const known = resolved(said, object($defs));
    const limit = (...names: string[]) => names.map((each) => known[each]).find((each): each is number => typeof each === "number");
    return {
      name,
      kind: kindOf(said, known),
      title: typeof said.title === "string" ? said.title : name,
      description: typeof said.description === "string" ? said.description : "",
      required: needed.includes(name),
      initial: said.default,
      choices: Array.isArray(known.enum) ? known.enum.map(String) : [],
      min: limit("minimum", "exclusiveMinimum"),
      max: limit("maximum", "exclusiveMaximum"),
      step: known.type === "integer" ? 1 : "any",
    };
  });
}

/** What a value may be, where it may also be null or is defined elsewhere. */
function resolved(said: Json, defs: Json): Json {
  const name = typeof said.$ref === "string" ? said.$ref.replace("#/$defs/", "") : "";
  const known = name ? object(defs[name]) : said;
  const either = Array.isArray(known.anyOf) ? known.anyOf.map(object).filter(({ type }) => type !== "null") : [];
  return either.length === 1 && either[0] ? resolved(either[0], defs) : known;
}

function kindOf(said: Json, known: Json): FieldKind {
  const hint = SEARCHED[String(said["x-cscale"] ?? "")];
  if (hint) return hint;
  if (Array.isArray(known.enum)) return "choice";
  if (known.type === "number" || known.type === "integer") return "number";
  if (known.type === "boolean") return "boolean";
  if (known.type === "string") return "text";
  const items = [object(known.items), ...(Array.isArray(known.prefixItems) ? known.prefixItems.map(object) : [])].filter(({ type }) => type);
  if (known.type === "array" && items.length && items.every(({ type }) => type === "string")) return "texts";
  return "json";
}

/** The first values: as the schema says, and from the map and the dates that are searched. */
export function initialValues(fields: readonly FormField[], area: Area | null, datetime: string): Values {
  const values: Values = {};
  for (const { name, kind, initial } of fields) {
    if (initial !== undefined) values[name] = initial;
    else if (kind === "bbox" && area) values[name] = areaBox(area);
    else if (kind === "period") values[name] = periodOf(datetime);
    else if (kind === "intervals") values[name] = halves(periodOf(datetime));
  }
  return values;
}

export type Interval = [from: string, before: string];

/** First day, and the day after the last, of an interval as STAC has it; what is open is empty. */
export function periodOf(datetime: string): Interval {
  const [from = "", to = ""] = datetime.split("/");
  const day = (text: string) => (DAY.test(text.slice(0, 10)) ? text.slice(0, 10) : "");
  return [day(from), shiftDay(day(to), 1)];
}

/** A day so many days later; empty stays empty. */
export function shiftDay(day: string, by: number): string {
  const time = Date.parse(`${day}T00:00:00Z`);
  return Number.isNaN(time) ? "" : new Date(time + by * 86_400_000).toISOString().slice(0, 10);
}

/** Two intervals of the same length; of an open one nothing is made up. */
export function halves([from, before]: Interval): Interval[] {
  const [start, end] = [Date.parse(`${from}T00:00:00Z`), Date.parse(`${before}T00:00:00Z`)];
  if (!(end - start >= 2 * 86_400_000))
    return [
      [from, ""],
      ["", before],
    ];
  const middle = shiftDay(from, Math.floor((end - start) / 86_400_000 / 2));
  return [
    [from, middle],
    [middle, before],
  ];
}

export type Wrong = "missing" | "number" | "small" | "large" | "days" | "box" | "json" | "";

/** What is wrong with a value; empty: nothing. */
export function wrongValue(field: FormField, value: unknown): Wrong {
  const { kind, required, min, max } = field;
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) return required ? "missing" : "";
  if (kind === "number") {
    if (typeof value !== "number" || !Number.isFinite(value)) return "number";
    if (min !== undefined && value < min) return "small";
    if (max !== undefined && value > max) return "large";
  }
  if (kind === "bbox") {
    const box = value as unknown[];
    if (!Array.isArray(box) || box.length !== 4 || !box.every((each) => typeof each === "number" && Number.isFinite(each))) return "box";
    const [west, south, east, north] = box as [number, number, number, number];
    if (west < -180 || east > 180 || south < -90 || north > 90 || west >= east || south >= north) return "box";
  }
  if (kind === "period" || kind === "intervals") {
    const all = (kind === "period" ? [value] : value) as Interval[];
    if (all.some((each) => !Array.isArray(each) || !each[0] || !each[1] || each[0] >= each[1])) return "days";
  }
  if (kind === "json" && typeof value === "string") return "json";
  return "";
}

/** The values to be sent: what is empty and not needed is left to the default. */
export function sentValues(fields: readonly FormField[], values: Values): Values {
  return Object.fromEntries(fields.map(({ name }) => [name, values[name]] as const).filter(([, value]) => value !== undefined && value !== "" && value !== null));
}
