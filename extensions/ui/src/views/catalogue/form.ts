/** What is filled in, and the question that it makes. */

import type { SearchRequest, SortKey } from "../../api/schema";
import type { Area, Session } from "../../state/session";
import { isText, isTexts } from "../../state/session";
import type { Store } from "../../state/store";
import { areaBox, isRectangle } from "../../map/geo";

export type Operator = "=" | "<>" | "<" | "<=" | ">" | ">=" | "like";

/** One condition on a property. */
export interface Condition {
  property: string;
  operator: Operator;
  value: string;
  /** What kind of value the property has. */
  kind: "number" | "text" | "boolean";
}

export interface Form {
  /** As searches take them: `PROVIDER|id`. */
  collections: string[];
  /** Percent; 100: any, also what states none. */
  maxCloudCover: number;
  conditions: Condition[];
  /** Archives; empty: all. */
  providers: string[];
  sort: "newest" | "oldest" | "clearest";
}

export const EMPTY_FORM: Form = { collections: [], maxCloudCover: 100, conditions: [], providers: [], sort: "newest" };

const OPERATORS: readonly string[] = ["=", "<>", "<", "<=", ">", ">=", "like"];
const SORTS: readonly string[] = ["newest", "oldest", "clearest"];

function isCondition(value: unknown): value is Condition {
  const { property, operator, value: text, kind } = (value ?? {}) as Record<string, unknown>;
  return (
    isText(property) && isText(operator) && OPERATORS.includes(operator) && isText(text) && (kind === "number" || kind === "text" || kind === "boolean")
  );
}

export function isForm(value: unknown): value is Form {
  const { collections, maxCloudCover, conditions, providers, sort } = (value ?? {}) as Record<string, unknown>;
  return (
    isTexts(collections) &&
    typeof maxCloudCover === "number" &&
    Array.isArray(conditions) &&
    conditions.every(isCondition) &&
    isTexts(providers) &&
    isText(sort) &&
    SORTS.includes(sort)
  );
}

/** The form, the same in all panels of a page, there again after a reload. */
export function formStore(session: Session): Store<Form> {
  return session.memory.store("catalogue:form", EMPTY_FORM, isForm);
}

const SORTED: Record<Form["sort"], SortKey[]> = {
  newest: [],
  oldest: [{ field: "datetime", direction: "asc" }],
  clearest: [{ field: "eo:cloud_cover", direction: "asc" }],
};

/** Conditions as CQL2 JSON; null: there are none. */
export function filterOf(conditions: readonly Condition[]): Record<string, unknown> | null {
  const made = conditions
    .filter(({ property, value }) => property && value.trim())
    .map(({ property, operator, value, kind }) => ({
      op: operator,
      args: [{ property }, operator === "like" ? `%${value.trim()}%` : kind === "number" ? Number(value) : kind === "boolean" ? value === "true" : value.trim()],
    }));
  const [only] = made;
  return made.length > 1 ? { op: "and", args: made } : (only ?? null);
}

/** Why a condition cannot be asked; empty: it can. */
export function wrongCondition({ property, value, kind }: Condition): "number" | "" {
  return property && value.trim() && kind === "number" && !Number.isFinite(Number(value)) ? "number" : "";
}

/** What is asked of the federation. */
export function questionOf(form: Form, area: Area | null, datetime: string, limit: number): Partial<SearchRequest> {
  const filter = filterOf(form.conditions);
  const box = area && isRectangle(area) ? areaBox(area) : null;
  return {
    limit,
    ...(box ? { bbox: box } : area ? { intersects: area as unknown as Record<string, unknown> } : {}),
    ...(datetime ? { datetime } : {}),
    ...(form.collections.length ? { collections: form.collections } : {}),
    ...(form.providers.length ? { providers: form.providers } : {}),
    ...(form.maxCloudCover < 100 ? { max_cloud_cover: form.maxCloudCover } : {}),
    ...(filter ? { filter } : {}),
    ...(SORTED[form.sort].length ? { sortby: SORTED[form.sort] } : {}),
  };
}
