/**
 * The panel's code: the same module that a notebook cell is given, from the user's server.
 *
 * Modules that could not be loaded are remembered as such by some browsers, so that every further
 * try has an address of its own.
 */

import { VERSION } from "generated:panel";

type PanelModule = typeof import("..");

const PATH = "static/cscale/panel.js";

let loading: Promise<PanelModule> | undefined;
let failures = 0;

/** Where the module is, for browsers to keep while it stays the same. */
export function panelAddress(server: string, version: string, failed: number): string {
  const address = new URL(PATH, server);
  if (version) address.searchParams.set("v", version);
  if (failed) address.searchParams.set("again", String(failed));
  return address.href;
}

/**
 * The module, loaded once for the page.
 *
 * @param server - Root of the user's server, ending with a slash.
 * @throws TypeError when it cannot be loaded; asked again, it is tried again.
 */
export function panelModule(server: string): Promise<PanelModule> {
  loading ??= (import(panelAddress(server, VERSION, failures)) as Promise<PanelModule>).catch((thrown: unknown) => {
    loading = undefined;
    failures += 1;
    throw thrown;
  });
  return loading;
}
