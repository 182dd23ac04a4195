/** Keeps the kernel's traits and the session alike: area, dates and selection, both ways. */

import type { Panel } from "../mount";
import type { Store } from "../state/store";
import type { ViewId } from "../views/view";
import type { AnyModel, Traits } from "./model";

const SEND_AFTER = 300;

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

export function followModel(model: AnyModel, panel: Panel): () => void {
  const { session } = panel;
  const pairs: [keyof Traits, Store<unknown>][] = [
    ["area", session.area as Store<unknown>],
    ["datetime", session.datetime as Store<unknown>],
    ["selection", session.selection as Store<unknown>],
  ];
  let timer: ReturnType<typeof setTimeout> | undefined;
  const send = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const changed = pairs.filter(([name, store]) => !same(model.get(name), store.get()));
      for (const [name, store] of changed) model.set(name, store.get() as never);
      if (changed.length) model.save_changes();
    }, SEND_AFTER);
  };
  const stops = pairs.map(([name, store]) => {
    const take = () => {
      if (!same(model.get(name), store.get())) store.set(model.get(name));
    };
    // What was given in Python is meant; else the page's state is the newer one.
    if (!empty(model.get(name))) take();
    model.on(`change:${name}`, take);
    const stop = store.subscribe(send);
    return () => {
      stop();
      model.off(`change:${name}`, take);
    };
  });
  send();
  const show = () => model.get("view") && panel.show(model.get("view") as ViewId);
  show();
  model.on("change:view", show);
  return () => {
    clearTimeout(timer);
    model.off("change:view", show);
    for (const stop of stops) stop();
  };
}

function empty(value: unknown): boolean {
  return value === null || value === "" || (Array.isArray(value) && value.length === 0);
}
