/**
 * The panel in a notebook cell, as an anywidget. In a page of the user's Jupyter Server it asks the
 * server itself; elsewhere (VS Code, a Voila of its own) the kernel asks for it.
 */

import type { AnyModel } from "./model";
import { DEFAULT_PREFERENCES, type Host } from "../host";
import { english } from "../i18n";
import { mount } from "../mount";
import { browserKeeper } from "../state/memory";
import { createStore } from "../state/store";
import { commTransport } from "../transport/comm";
import { throughNewest } from "../transport/newest";
import { jupyterFetch, pageServer, restTransport, socketListener } from "../transport/rest";
import type { Transport } from "../transport/transport";
import { followModel } from "./follow";

const transports = new WeakMap<AnyModel, Promise<Transport>>();

/** The page's own server if it has our API, else the kernel. */
async function transportOf(model: AnyModel): Promise<Transport> {
  const page = pageServer();
  if (page) {
    const transport = restTransport({
      baseUrl: page.baseUrl,
      fetch: jupyterFetch(page.token),
      listen: socketListener(page.baseUrl, page.token),
    });
    try {
      if ((await transport.send("status")).ok) return transport;
    } catch {
      // Not reachable from here: the kernel may do better.
    }
  }
  return throughNewest(commTransport(model, `kernel:${model.get("server")}`));
}

function hostOf(model: AnyModel, server: string): Host {
  return {
    translation: english,
    keeper: browserKeeper(server),
    preferences: createStore({
      ...DEFAULT_PREFERENCES,
      basemapUrl: model.get("basemap_url"),
      basemapAttribution: model.get("basemap_attribution"),
    }),
    insertCode: null,
    searchLink: null,
    openPath: null,
    notify: null,
  };
}

async function render({ model, el }: { model: AnyModel; el: HTMLElement }): Promise<() => void> {
  let transport = transports.get(model);
  if (!transport) transports.set(model, (transport = transportOf(model)));
  const used = await transport;
  const root = document.createElement("div");
  root.style.height = `${model.get("height")}px`;
  const resize = () => void (root.style.height = `${model.get("height")}px`);
  model.on("change:height", resize);
  el.append(root);
  const panel = await mount(root, used, { host: hostOf(model, used.server), place: "cell" });
  const stop = followModel(model, panel);
  return () => {
    stop();
    model.off("change:height", resize);
    panel.dispose();
  };
}

export default { render };
