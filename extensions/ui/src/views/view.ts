/** What a view is; `views/index.ts` lists those that there are. */

import { createContext, type ComponentType } from "preact";
import { useContext } from "preact/hooks";
import type { IconName } from "../design/icons";
import type { Translation } from "../i18n";
import type { Session } from "../state/session";

export type ViewId = "catalogue" | "staging" | "jobs" | "storage" | "shared";

export interface ViewProps {
  /** False while another view is shown: maps rest, polls slow down. */
  shown: boolean;
}

export interface View {
  id: ViewId;
  icon: IconName;
  title: (trans: Translation) => string;
  component: ComponentType<ViewProps>;
  /** A number beside the title, such as that of running jobs; called when `badgeOf` changes. */
  badge?: (session: Session) => number;
  /** What the badge depends on. */
  badgeOf?: (session: Session) => { subscribe(changed: () => void): () => void; get(): unknown };
}

/** The views that there are, for those that lead to another. */
export const ViewsContext = createContext<readonly View[]>([]);

export function useHasView(wanted: ViewId): boolean {
  return useContext(ViewsContext).some(({ id }) => id === wanted);
}
