/** Puts the panel into an element. What differs between places is in the transport and the host. */

import { render } from "preact";
import styles from "generated:styles";
import type { Host } from "./host";
import { TranslationContext } from "./i18n";
import { Shell } from "./shell/Shell";
import { SessionContext } from "./state/hooks";
import { isText, sessionFor, type Session } from "./state/session";
import type { Transport } from "./transport/transport";
import { VIEWS } from "./views";
import type { View, ViewId } from "./views/view";

export interface MountOptions {
  host: Host;
  /** Names this place, so that it shows the same view again: `side`, `main`, `cell`. */
  place: string;
  /** Instead of all. */
  views?: readonly View[];
  /** Instead of the session that the page shares. */
  session?: Session;
}

export interface Panel {
  readonly session: Session;
  /** Show a view. */
  show(view: ViewId): void;
  dispose(): void;
}

export async function mount(element: HTMLElement, transport: Transport, options: MountOptions): Promise<Panel> {
  const session = options.session ?? (await sessionFor(transport, options.host));
  const at = session.memory.store<string>(`view:${options.place}`, "catalogue", isText);
  addStyles(element.getRootNode());
  element.classList.add("cs-panel");
  render(
    <TranslationContext.Provider value={session.host.translation}>
      <SessionContext.Provider value={session}>
        <Shell views={options.views ?? VIEWS} at={at} />
      </SessionContext.Provider>
    </TranslationContext.Provider>,
    element,
  );
  return {
    session,
    show: (view) => at.set(view),
    dispose() {
      render(null, element);
      element.classList.remove("cs-panel");
      void session.memory.flush();
    },
  };
}

const MARK = "data-cscale-panel";

/** The stylesheet, once for each document or shadow root. */
function addStyles(root: Node): void {
  const parent = root instanceof ShadowRoot ? root : document.head;
  if (parent.querySelector(`style[${MARK}]`)) return;
  const style = document.createElement("style");
  style.setAttribute(MARK, "");
  style.textContent = styles;
  parent.append(style);
}
