/** Scenes whose pictures are on the map, and what is shown of each. */

import { isAbort } from "../../api/problem";
import type { LayerInfo } from "../../api/schema";
import { layerRaster } from "../../map/layer-raster";
import type { Raster } from "../../map/port";
import type { Session } from "../../state/session";
import { createStore, type Store } from "../../state/store";
import { refParts } from "./refs";

export interface Preview {
  ref: string;
  /** Id of a rendering; empty: the first. */
  show: string;
  opacity: number;
}

/** The name under which the routes of layers know an item. */
export function layerOf(ref: string): string {
  return `item|${ref}`;
}

function isPreviews(value: unknown): value is Preview[] {
  return (
    Array.isArray(value) &&
    value.every(({ ref, show, opacity }) => typeof ref === "string" && typeof show === "string" && typeof opacity === "number")
  );
}

const MOST = 8;

export class Previews {
  /** The lowest first. */
  readonly list: Store<Preview[]>;
  /** Compare the first with the second at this share of the map's width; null: no. */
  readonly swipe: Store<number | null> = createStore<number | null>(null);
  /** Those whose tiles are on their way. */
  readonly busy: Store<ReadonlySet<string>> = createStore<ReadonlySet<string>>(new Set());
  /** Why pictures cannot be had, by reference. */
  readonly problems: Store<Record<string, string>> = createStore<Record<string, string>>({});
  private readonly infos = new Map<string, Promise<LayerInfo>>();
  private readonly rasters = new Map<string, Promise<Raster>>();

  constructor(private readonly session: Session) {
    this.list = session.memory.store<Preview[]>("catalogue:previews", [], isPreviews);
  }

  /** Show a scene, or show it otherwise. */
  show(ref: string, show = ""): void {
    this.problems.set(({ [ref]: _, ...others }) => others);
    this.list.set((before) => {
      const known = before.find((preview) => preview.ref === ref);
      if (known) return before.map((preview) => (preview.ref === ref ? { ...preview, show } : preview));
      return [...before.slice(1 - MOST), { ref, show, opacity: 1 }];
    });
  }

  hide(ref: string): void {
    this.list.set((before) => before.filter((preview) => preview.ref !== ref));
    if (this.list.get().length < 2) this.swipe.set(null);
  }

  clear(): void {
    this.list.set([]);
    this.swipe.set(null);
  }

  setOpacity(ref: string, opacity: number): void {
    this.list.set((before) => before.map((preview) => (preview.ref === ref ? { ...preview, opacity } : preview)));
  }

  /** Change the places of the first two. */
  turn(): void {
    this.list.set(([first, second, ...rest]) => (first && second ? [second, first, ...rest] : []));
  }

  /** What can be shown of a scene. */
  info(ref: string): Promise<LayerInfo> {
    let info = this.infos.get(ref);
    if (!info) {
      info = this.session.api.get("/layers/{layer}", { path: { layer: layerOf(ref) } });
      info.catch(() => this.infos.delete(ref));
      this.infos.set(ref, info);
    }
    return info;
  }

  /** A scene as tiles. */
  async raster({ ref, show, opacity }: Preview): Promise<Raster> {
    const key = `${ref} ${show}`;
    let made = this.rasters.get(key);
    if (!made) {
      made = this.make(ref, show);
      made.catch(() => this.rasters.delete(key));
      this.rasters.set(key, made);
    }
    return { ...(await made), opacity };
  }

  failed(ref: string, why: string): void {
    this.problems.set((before) => (before[ref] ? before : { ...before, [ref]: why }));
  }

  private async make(ref: string, show: string): Promise<Raster> {
    return layerRaster(this.session.api, layerOf(ref), show, {
      busy: (waiting) =>
        this.busy.set((before) => {
          const next = new Set(before);
          if (waiting) next.add(ref);
          else next.delete(ref);
          return next;
        }),
      failed: (error) => {
        if (!isAbort(error)) this.failed(ref, error instanceof Error ? error.message : refParts(ref).id);
      },
    });
  }
}

export function previewsOf(session: Session): Previews {
  return session.part("catalogue:previews", (made) => new Previews(made));
}
