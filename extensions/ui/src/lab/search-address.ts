/** Searches in JupyterLab's address: made for others, and taken from the one that was followed. */

import { PageConfig, URLExt } from "@jupyterlab/coreutils";

const PARAMETER = "cscale-search";

/** The address of a search: by way of the hub each person comes to their own server. */
export function searchAddress(packed: string): string {
  const hub = PageConfig.getOption("hubPrefix");
  const lab = hub
    ? URLExt.join(PageConfig.getOption("hubHost") || window.location.origin, hub, "user-redirect/lab")
    : URLExt.join(PageConfig.getBaseUrl(), "lab");
  return `${lab}?${PARAMETER}=${packed}`;
}

/** The search that the page's address has; it is taken out of it, so that a reload keeps what was done since. */
export function takeSearch(): string | null {
  const address = new URL(window.location.href);
  const packed = address.searchParams.get(PARAMETER);
  if (packed === null) return null;
  address.searchParams.delete(PARAMETER);
  window.history.replaceState(window.history.state, "", address);
  return packed;
}
