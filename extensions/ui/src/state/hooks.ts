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

/** Something that somebody sends with a button: whether it is under way, and what it failed with. */
export interface Sending {
  sending: boolean;
  problem: ApiProblem | null;
  /** Send it; gives what it failed with, which is also shown from then on. */
  send(work: () => Promise<unknown>): Promise<ApiProblem | null>;
  /** What it failed with is not true any more. */
  forget(): void;
}

export function useSending(): Sending {
  const [sending, setSending] = useState(false);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const send = async (work: () => Promise<unknown>) => {
    setSending(true);
    setProblem(null);
    try {
      await work();
      return null;
    } catch (thrown) {
      const why = asProblem(thrown);
      setProblem(why);
      return why;
    } finally {
      setSending(false);
    }
  };
  return { sending, problem, send, forget: () => setProblem(null) };
}

/** A list that is asked of the server page by page. */
export interface Paged<P> {
  /** Those that are there, the first one first; empty: none yet. */
  pages: readonly P[];
  problem: ApiProblem | null;
  waiting: boolean;
  /** Ask for the page that follows. */
  more(): void;
  /** Ask anew from the first page; what is there stays until it is answered. */
  again(): void;
  /** Ask once more for what could not be had. */
  retry(): void;
}

/**
 * Ask for the first page when the component appears and when `about` changes.
 *
 * @param ask gets the page before, null for the first one
 * @param wait milliseconds until a first page is asked for, such as while somebody types
 */
export function usePages<P>(about: readonly unknown[], ask: (before: P | null, signal: AbortSignal) => Promise<P>, wait = 0): Paged<P> {
  const [state, setState] = useState<Pick<Paged<P>, "pages" | "problem" | "waiting">>({ pages: [], problem: null, waiting: true });
  const asking = useRef(ask);
  asking.current = ask;
  const control = useRef<AbortController>();
  const first = useRef(true); // whether the last question was for the first page
  const load = async (pages: readonly P[]) => {
    control.current?.abort();
    const { signal } = (control.current = new AbortController());
    first.current = !pages.length;
    setState((before) => ({ ...before, problem: null, waiting: true }));
    try {
      const page = await asking.current(pages.at(-1) ?? null, signal);
      if (!signal.aborted) setState({ pages: [...pages, page], problem: null, waiting: false });
    } catch (thrown) {
      if (signal.aborted || isAbort(thrown)) return;
      setState((before) => ({ ...before, problem: asProblem(thrown), waiting: false }));
    }
  };
  useEffect(() => {
    const timer = setTimeout(() => void load([]), wait);
    return () => {
      clearTimeout(timer);
      control.current?.abort();
    };
  }, about);
  return { ...state, more: () => void load(state.pages), again: () => void load([]), retry: () => void load(first.current ? [] : state.pages) };
}
