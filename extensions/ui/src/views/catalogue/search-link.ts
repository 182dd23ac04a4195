/** A search as a part of an address: base64url (RFC 4648, section 5) of its name and question as JSON. */

import type { SearchContent } from "../../api/schema";
import { isArea, isText, type Session } from "../../state/session";
import { runSearch } from "./actions";
import { isForm } from "./form";
import { fillIn, formOf } from "./library";

/** Letters: who has to sign in first keeps the address in a cookie, which holds some 4,000. */
const LONGEST = 1_500;

/** What an address tells of a search; null: it is too long for one. */
export function packSearch({ name, query: { limit: _, ...query } }: Pick<SearchContent, "name" | "query">): string | null {
  const bytes = new TextEncoder().encode(JSON.stringify({ name, query }));
  if (bytes.length > (LONGEST * 3) / 4) return null;
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/**
 * The search that an address tells. Anybody may have written it.
 *
 * @throws Error when it is none.
 */
export function unpackSearch(packed: string): SearchContent {
  const bytes = Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  const { name, query } = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as Partial<SearchContent>;
  if (!isText(name) || typeof query !== "object" || query === null) throw new Error("no search");
  const { form, area, datetime } = formOf(query);
  if (!isForm(form) || !isArea(area) || !isText(datetime)) throw new Error("no search");
  return { name, query, view: {} };
}

/** Fill in and ask what an address tells. */
export function openSearch(session: Session, packed: string): void {
  const trans = session.host.translation;
  let search: SearchContent;
  try {
    search = unpackSearch(packed);
  } catch {
    session.say(trans.__("The link holds no search that can be read: it may have been cut. Ask for it again."), "error");
    return;
  }
  const { left } = fillIn(session, search);
  runSearch(session);
  session.say(left.length ? trans.__("The form has no field for %1 of this search; it was left out.", left.join(", ")) : trans.__("This is “%1”, from a link. Save keeps it.", search.name));
}
