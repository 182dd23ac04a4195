/**
 * What a page offers to every panel in it. JupyterLab says it when it starts, so that a panel in a
 * notebook cell, which knows nothing of JupyterLab, inserts code and keeps its state there, too.
 */

import type { Host } from "../host";

const HOSTS = Symbol.for("cscale.hosts.1");

function hosts(): Map<string, Host> {
  const page = globalThis as { [HOSTS]?: Map<string, Host> };
  return (page[HOSTS] ??= new Map());
}

/** Give this to all panels of the page that reach a server. */
export function offerHost(server: string, host: Host): void {
  hosts().set(server, host);
}

/** What the page offers; else what the place of the panel has. */
export function hostFor(server: string, own: Host): Host {
  return hosts().get(server) ?? own;
}
