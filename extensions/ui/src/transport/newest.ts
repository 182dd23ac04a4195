/**
 * One transport for all cells of a page that ask through kernels.
 *
 * A cell that is run again has a new comm, of a kernel that lives, while the one before may be of a
 * kernel that was restarted. What panels of the page share outlives both, so that it asks through
 * the newest.
 */

import type { JobEvent, Transport } from "./transport";

interface Listener {
  heard: (event: JobEvent) => void;
  away: () => void;
  stop: () => void;
}

interface Relay {
  transport: Transport;
  take(newer: Transport): void;
}

const RELAYS = Symbol.for("cscale.relays.1");

/** The transport of this page to that server, which asks through this one from now on. */
export function throughNewest(own: Transport): Transport {
  const page = globalThis as { [RELAYS]?: Map<string, Relay> };
  const relays = (page[RELAYS] ??= new Map());
  const known = relays.get(own.server);
  if (known) {
    known.take(own);
    return known.transport;
  }
  const relay = relayOf(own);
  relays.set(own.server, relay);
  return relay.transport;
}

function relayOf(first: Transport): Relay {
  let newest = first;
  const listeners = new Set<Listener>();
  return {
    transport: {
      server: first.server,
      send: (path, request) => newest.send(path, request),
      listen(heard, away) {
        const listener: Listener = { heard, away, stop: newest.listen(heard, away) };
        listeners.add(listener);
        return () => {
          listener.stop();
          listeners.delete(listener);
        };
      },
    },
    take(newer) {
      newest = newer;
      for (const listener of listeners) {
        listener.stop();
        listener.stop = newer.listen(listener.heard, listener.away);
        listener.away(); // what the one before did not tell
      }
    },
  };
}
