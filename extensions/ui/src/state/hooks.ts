/** Session and stores in components. */

import { createContext } from "preact";
import { useContext, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { asProblem, isAbort, type ApiProblem } from "../api/problem";
import type { Session } from "./session";
import type { Store } from "./store";

export const SessionContext = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error("There is no session around this component.");
  return session;
}

/** The value of a store, or what `pick` makes of it; shown again when that changes. */
export function useStore<T>(store: Store<T>): T;
export function useStore<T, P>(store: Store<T>, pick: (value: T) => P): P;
export function useStore<T, P>(store: Store<T>, pick?: (value: T) => P): T | P {
  const picked = pick ? pick(store.get()) : store.get();
  const [, again] = useState(0);
  const shown = useRef(picked);
  shown.current = picked;
  const chosen = useRef(pick);
  chosen.current = pick;
  useLayoutEffect(() => {
    const look = () => {
      const now = chosen.current ? chosen.current(store.get()) : store.get();
      if (!Object.is(now, shown.current)) again((count) => count + 1);
    };
    look(); // what changed before this was subscribed
    return store.subscribe(look);
  }, [store]);
  return picked;
}

/** Something that is asked of the server: its answer, why there is none, and asking again. */
export interface Asked<T> {
  value: T | undefined;
  problem: ApiProblem | null;
  waiting: boolean;
  retry(): void;
}

/** Ask when the component appears and when `about` changes; null asks nothing. */
export function useAsked<T>(about: readonly unknown[], ask: ((signal: AbortSignal) => Promise<T>) | null): Asked<T> {
  const [state, setState] = useState<Omit<Asked<T>, "retry">>({ value: undefined, problem: null, waiting: !!ask });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!ask) {
      setState({ value: undefined, problem: null, waiting: false });
      return;
    }
    const control = new AbortController();
    setState((before) => ({ ...before, problem: null, waiting: true }));
    ask(control.signal).then(
      (value) => !control.signal.aborted && setState({ value, problem: null, waiting: false }),
      (thrown: unknown) => {
        if (control.signal.aborted || isAbort(thrown)) return;
        setState((before) => ({ ...before, problem: asProblem(thrown), waiting: false }));
      },
    );
    return () => control.abort();
  }, [...about, turn]);
  return { ...state, retry: () => setTurn((count) => count + 1) };
}
