/**
 * What survives a reload: stores that are written to where the host keeps state.
 *
 * What is read back was written by an older version, or by another hand: each store says what it
 * takes, and anything else is forgotten.
 */

import { createStore, type Store } from "./store";

/** Where state is kept: JupyterLab's state database, or the browser's storage. */
export interface Keeper {
  load(): Promise<Record<string, unknown>>;
  save(state: Record<string, unknown>): Promise<void>;
}

const WRITE_AFTER = 300;

export class Memory {
  private readonly kept = new Map<string, Store<unknown>>();
  private before: Record<string, unknown> = {};
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly keeper: Keeper) {}

  /** Read what was kept; to be awaited before any store is made. */
  async recall(): Promise<void> {
    try {
      this.before = await this.keeper.load();
    } catch {
      this.before = {}; // a panel without its past is better than none
    }
  }

  /** A store whose value is there again after a reload, if it `fits`. */
  store<T>(key: string, initial: T, fits: (value: unknown) => value is T): Store<T> {
    const known = this.kept.get(key);
    if (known) return known as Store<T>;
    const before = this.before[key];
    const store = createStore(fits(before) ? before : initial);
    this.kept.set(key, store as Store<unknown>);
    store.subscribe(() => this.later());
    return store;
  }

  /** Write what has changed, now. */
  async flush(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    const state = { ...this.before };
    for (const [key, store] of this.kept) state[key] = store.get();
    try {
      await this.keeper.save(state);
    } catch {
      // The storage is full or forbidden: only the next reload is poorer for it.
    }
  }

  private later(): void {
    this.timer ??= setTimeout(() => void this.flush(), WRITE_AFTER);
  }
}

/** The browser's storage, a name for each server. */
export function browserKeeper(server: string, storage: Storage = localStorage): Keeper {
  const name = `cscale:${server}`;
  return {
    load: async () => JSON.parse(storage.getItem(name) ?? "{}") as Record<string, unknown>,
    save: async (state) => storage.setItem(name, JSON.stringify(state)),
  };
}
