/** What archives can be asked by, from their queryables (OGC API - Features - Part 3, JSON Schema). */

import type { Condition } from "./form";

export interface Property {
  name: string;
  title: string;
  type: string;
  /** Those that there are, where they are said. */
  values: string[];
  /** Such as `0 to 100`; empty: not said. */
  range: string;
}

// These have fields of their own.
const ELSEWHERE = new Set(["id", "collection", "geometry", "datetime", "start_datetime", "end_datetime", "created", "updated", "eo:cloud_cover", "description", "title", "bbox"]);
const TYPES = ["number", "integer", "string", "boolean"];
const MOST_VALUES = 200;

type Schema = { type?: unknown; title?: unknown; enum?: unknown; minimum?: unknown; maximum?: unknown };

/** Properties that any of these schemas has, in the order of their names. */
export function propertiesOf(schemas: readonly unknown[]): Property[] {
  const found = new Map<string, Property>();
  for (const schema of schemas) {
    const { properties } = (schema ?? {}) as { properties?: unknown };
    if (typeof properties !== "object" || properties === null) continue;
    for (const [name, value] of Object.entries(properties as Record<string, Schema | null>)) {
      const type = [value?.type].flat().find((each) => TYPES.includes(String(each)));
      if (ELSEWHERE.has(name) || found.has(name) || !value || (!type && !Array.isArray(value.enum))) continue;
      const values = Array.isArray(value.enum) ? value.enum.slice(0, MOST_VALUES).map(String) : [];
      const title = typeof value.title === "string" && value.title && value.title !== name ? `${value.title.slice(0, 60)} (${name})` : name;
      const { minimum, maximum } = value;
      const range = typeof minimum === "number" && typeof maximum === "number" ? `${minimum} – ${maximum}` : "";
      found.set(name, { name, title: title.slice(0, 100), type: String(type ?? "string"), values, range });
    }
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
}

export function kindOf(property: Property | undefined): Condition["kind"] {
  if (property?.type === "number" || property?.type === "integer") return "number";
  return property?.type === "boolean" ? "boolean" : "text";
}
