/** The transport through JupyterLab's own connection and event stream. */

import { ServerConnection, type Event, type ServiceManager } from "@jupyterlab/services";
import { restTransport } from "../transport/rest";
import { jobEvent, type Transport } from "../transport/transport";

export function labTransport(services: ServiceManager.IManager): Transport {
  // JupyterLab asks for everything anew; our server says itself what may be kept.
  const settings = ServerConnection.makeSettings({
    ...services.serverSettings,
    init: { ...services.serverSettings.init, cache: "default" },
  });
  return restTransport({
    baseUrl: settings.baseUrl,
    fetch: async (url, init) => {
      try {
        return await ServerConnection.makeRequest(url, init, settings);
      } catch (thrown) {
        if (init.signal?.aborted) throw new DOMException("Aborted", "AbortError");
        throw new TypeError(thrown instanceof Error ? thrown.message : String(thrown));
      }
    },
    listen(heard, away) {
      const take = (_: unknown, message: Event.Emission) => {
        const event = jobEvent(message);
        if (event) heard(event);
      };
      services.events.stream.connect(take);
      services.connectionFailure.connect(away);
      return () => {
        services.events.stream.disconnect(take);
        services.connectionFailure.disconnect(away);
      };
    },
  });
}
