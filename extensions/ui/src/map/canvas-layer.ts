/** A layer of the map that paints itself on one canvas, and moves with the map between paintings. */

import * as L from "leaflet";

export interface Painted {
  /** Where a point in Web Mercator (0 to 1) is, in pixels; once for each copy of the world in view. */
  place: (x: number, y: number) => [number, number][];
  /** Pixels around the world. */
  world: number;
  size: L.Point;
  /** From Web Mercator to pixels without copies: `x * world - left`. */
  left: number;
  top: number;
  /** Which copies of the world are in view: to be added to x. */
  copies: number[];
}

export type Painter = (context: CanvasRenderingContext2D, painted: Painted) => void;

/** What Leaflet's renderers have, and its types do not say. */
interface RendererParts {
  _map: L.Map & { _animatingZoom?: boolean };
  _container: HTMLCanvasElement;
  _bounds: L.Bounds;
}

const PADDING = 0.35; // of the view, around it: what a pan shows before it is painted anew

export class CanvasLayer extends L.Renderer {
  constructor(
    private readonly painter: Painter,
    pane: string,
  ) {
    super({ padding: PADDING, pane });
  }

  /** Paint anew, now. */
  repaint(): void {
    const { _map, _bounds } = this.parts;
    if (_map && _bounds) this.paint();
  }

  // The methods that Leaflet calls of a renderer.

  protected _initContainer(): void {
    const canvas = document.createElement("canvas");
    canvas.className = "cs-map-canvas";
    this.parts._container = canvas;
  }

  protected _destroyContainer(): void {
    this.parts._container.remove();
  }

  protected _updatePaths(): void {
    // There are none: everything is painted by _update.
  }

  protected _update(): void {
    const { parts } = this;
    if (parts._map._animatingZoom && parts._bounds) return;
    (L.Renderer.prototype as unknown as { _update(this: unknown): void })._update.call(this);
    const size = parts._bounds.getSize();
    const canvas = parts._container;
    const scale = window.devicePixelRatio || 1;
    L.DomUtil.setPosition(canvas, parts._bounds.min as L.Point);
    canvas.width = size.x * scale;
    canvas.height = size.y * scale;
    canvas.style.width = `${size.x}px`;
    canvas.style.height = `${size.y}px`;
    this.paint();
  }

  private get parts(): RendererParts {
    return this as unknown as RendererParts;
  }

  private paint(): void {
    const { _map: map, _container: canvas, _bounds: bounds } = this.parts;
    const context = canvas.getContext("2d");
    if (!context) return;
    const scale = window.devicePixelRatio || 1;
    const size = bounds.getSize();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, size.x, size.y);
    const world = 256 * 2 ** map.getZoom();
    const origin = map.getPixelOrigin().add(bounds.min as L.Point);
    const first = Math.floor(origin.x / world);
    const last = Math.floor((origin.x + size.x) / world);
    const copies = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    this.painter(context, {
      place: (x, y) => copies.map((copy) => [(x + copy) * world - origin.x, y * world - origin.y]),
      world,
      size,
      left: origin.x,
      top: origin.y,
      copies,
    });
  }
}
