/** Where in the person's places the view is, and how such a place is told. */

import type { StoragePlace } from "../../api/schema";
import type { Translation } from "../../i18n";
import { isText, type Session } from "../../state/session";
import type { Store } from "../../state/store";

/** A folder of one of the person's places. */
export interface Where {
  bucket: string;
  /** Prefix of the place. */
  root: string;
  /** Prefix that is shown; begins with `root`, is empty or ends with a slash. */
  prefix: string;
}

function isWhere(value: unknown): value is Where | null {
  if (value === null) return true;
  const { bucket, root, prefix } = (value ?? {}) as Partial<Where>;
  return isText(bucket) && isText(root) && isText(prefix) && prefix.startsWith(root);
}

/** The folder that is shown, there again after a reload; null: the places. */
export function whereOf({ memory }: Session): Store<Where | null> {
  return memory.store<Where | null>("storage:where", null, isWhere);
}

/** The last part of a key or a prefix. */
export function nameOf(key: string): string {
  return key.replace(/\/$/, "").split("/").pop() ?? key;
}

const MOST_SHOWN = 40;

/** A path that is not too long, or the folders at its end. */
export function endOf(path: string): string {
  if (path.length <= MOST_SHOWN) return path;
  const folders = path.split("/");
  let end = folders.pop() ?? "";
  while (folders.length && end.length + (folders.at(-1)?.length ?? 0) < MOST_SHOWN) end = `${folders.pop()}/${end}`;
  return `…/${end}`;
}

export function placeTitle({ purpose, vo }: StoragePlace, trans: Translation): string {
  return {
    products: trans.__("Products of %1", vo),
    home: trans.__("Your own folder in %1", vo),
    shared: trans.__("Shared in %1", vo),
    archive: trans.__("Archive of %1", vo),
  }[purpose];
}

/** The folders from the place to what is shown, each with its prefix. */
export function trail({ root, prefix }: Where): { name: string; prefix: string }[] {
  const parts = prefix.slice(root.length).split("/").filter(Boolean);
  return parts.map((name, index) => ({ name, prefix: `${root}${parts.slice(0, index + 1).join("/")}/` }));
}
