/** Shows a component with a session of its own around it. */

import { render } from "@testing-library/preact";
import type { ComponentChildren } from "preact";
import { DEFAULT_PREFERENCES, type Host } from "../src/host";
import { english, TranslationContext } from "../src/i18n";
import { SessionContext } from "../src/state/hooks";
import { browserKeeper } from "../src/state/memory";
import { createSession, type Session } from "../src/state/session";
import { createStore } from "../src/state/store";
import type { Transport } from "../src/transport/transport";

export function fakeHost(changes: Partial<Host> = {}): Host {
  return {
    translation: english,
    keeper: browserKeeper("test"),
    preferences: createStore(DEFAULT_PREFERENCES),
    insertCode: null,
    searchLink: null,
    openPath: null,
    notify: null,
    ...changes,
  };
}

export async function show(children: ComponentChildren, transport: Transport, host: Partial<Host> = {}): Promise<Session> {
  const session = await createSession(transport, fakeHost(host));
  render(
    <TranslationContext.Provider value={english}>
      <SessionContext.Provider value={session}>{children}</SessionContext.Provider>
    </TranslationContext.Provider>,
  );
  return session;
}
