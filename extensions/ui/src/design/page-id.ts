/** Ids for labels and tabs. Preact's own are the same in every panel of a page. */

import { useState } from "preact/hooks";

/** An id that nothing else in the page has. */
export function usePageId(): string {
  const [id] = useState(() => `cs-${Math.random().toString(36).slice(2)}`);
  return id;
}
