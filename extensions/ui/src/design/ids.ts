/**
 * Ids of elements. Preact counts its own in each tree anew, and a page has several panels: a label
 * of the one in the main area would name a field of the one in the side bar.
 */

import { useState } from "preact/hooks";

// Of this copy of the code: JupyterLab's and the one of notebook cells may be in one page.
const COPY = crypto.randomUUID().slice(0, 8);

let made = 0;

/** An id that no other element of the page has. */
export function useId(): string {
  return useState(() => `cs-${COPY}-${++made}`)[0];
}
