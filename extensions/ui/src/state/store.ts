/**
 * A value that many can look at. Made of plain functions, so that the panel in the side bar and
 * the one in a notebook cell, which are different bundles in one page, can share it.
 */

export interface Store<T> {
  get(): T;
  set(value: T | ((before: T) => T)): void;
  subscribe(changed: () => void): () => void;
}

export function createStore<T>(initial: T): Store<T> {
  let current = initial;
  const watchers = new Set<() => void>();
  return {
    get: () => current,
    set(value) {
      const next = typeof value === "function" ? (value as (before: T) => T)(current) : value;
      if (Object.is(next, current)) return;
      current = next;
      for (const watcher of [...watchers]) watcher();
    },
    subscribe(changed) {
      watchers.add(changed);
      return () => void watchers.delete(changed);
    },
  };
}
