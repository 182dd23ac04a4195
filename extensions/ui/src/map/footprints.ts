/**
 * Outlines of items: drawn one by one while there are few in view, as a density above that. Ten
 * thousand are kept as flat arrays, so that neither a pan nor the pointer waits for them.
 */

import { CanvasLayer, type Painted } from "./canvas-layer";
import type { Colours } from "./colours";
import { mercator, type Box, type Point } from "./geo";
import type { Footprint } from "./port";

export const MOST_DRAWN = 2_000;
const CELL = 22; // pixels of a cell of the density
const SMALLEST = 5; // pixels: smaller outlines are shown as a dot of this size

interface Outline {
  ref: string;
  /** Rings in Web Mercator from 0 to 1. */
  rings: Float64Array[];
  box: Box;
}

function outlineOf({ ref, geometry }: Footprint): Outline | null {
  const { type, coordinates } = (geometry ?? {}) as { type?: string; coordinates?: unknown };
  let polygons: unknown[];
  if (type === "Polygon") polygons = [coordinates];
  else if (type === "MultiPolygon" && Array.isArray(coordinates)) polygons = coordinates;
  else if (type === "Point" && Array.isArray(coordinates)) polygons = [[[coordinates, coordinates, coordinates]]];
  else return null;
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  const rings: Float64Array[] = [];
  for (const polygon of polygons) {
    for (const ring of Array.isArray(polygon) ? polygon : []) {
      if (!Array.isArray(ring) || ring.length < 3) continue;
      const points = new Float64Array(2 * ring.length);
      for (const [index, point] of (ring as unknown[]).entries()) {
        const [longitude, latitude] = Array.isArray(point) ? point.map(Number) : [NaN, NaN];
        const [x, y] = mercator(longitude ?? NaN, latitude ?? NaN);
        if (Number.isNaN(x) || Number.isNaN(y)) return null;
        points[2 * index] = x;
        points[2 * index + 1] = y;
        box[0] = Math.min(box[0], x);
        box[1] = Math.min(box[1], y);
        box[2] = Math.max(box[2], x);
        box[3] = Math.max(box[3], y);
      }
      rings.push(points);
    }
  }
  return rings.length ? { ref, rings, box } : null;
}

function contains({ rings }: Outline, x: number, y: number): boolean {
  let inside = false;
  for (const points of rings) {
    const count = points.length / 2;
    for (let index = 0, before = count - 1; index < count; before = index++) {
      const [xi, yi] = [points[2 * index] as number, points[2 * index + 1] as number];
      const [xj, yj] = [points[2 * before] as number, points[2 * before + 1] as number];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
  }
  return inside;
}

function trace(context: CanvasRenderingContext2D, { rings, box }: Outline, { world, left, top }: Painted, copy: number): void {
  const width = (box[2] - box[0]) * world;
  const height = (box[3] - box[1]) * world;
  if (Math.max(width, height) < SMALLEST) {
    const x = ((box[0] + box[2]) / 2 + copy) * world - left;
    const y = ((box[1] + box[3]) / 2) * world - top;
    context.rect(x - SMALLEST / 2, y - SMALLEST / 2, SMALLEST, SMALLEST);
    return;
  }
  for (const points of rings) {
    for (let index = 0; index < points.length; index += 2) {
      const x = ((points[index] as number) + copy) * world - left;
      const y = (points[index + 1] as number) * world - top;
      if (index) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    context.closePath();
  }
}

function* seen(outlines: Iterable<Outline>, { world, left, top, size, copies }: Painted): Generator<[Outline, number]> {
  for (const outline of outlines) {
    const [w, n, e, s] = outline.box;
    if (s * world - top < 0 || n * world - top > size.y) continue;
    for (const copy of copies) {
      if ((e + copy) * world - left >= 0 && (w + copy) * world - left <= size.x) yield [outline, copy];
    }
  }
}

export class Footprints {
  readonly layer: CanvasLayer;
  readonly markLayer: CanvasLayer;
  /** Whether a density is shown instead of outlines. */
  dense = false;
  private outlines: Outline[] = [];
  private byRef = new Map<string, Outline>();
  private known = new Map<string, Outline | null>();
  private marks: { hovered: string | null; open: string | null; selected: ReadonlySet<string> } = {
    hovered: null,
    open: null,
    selected: new Set(),
  };

  constructor(private readonly colours: () => Colours) {
    this.layer = new CanvasLayer((context, painted) => this.paint(context, painted), "footprints");
    this.markLayer = new CanvasLayer((context, painted) => this.paintMarks(context, painted), "marks");
  }

  set(footprints: readonly Footprint[]): void {
    const known = new Map<string, Outline | null>();
    for (const footprint of footprints) {
      const before = this.known.get(footprint.ref);
      known.set(footprint.ref, before === undefined ? outlineOf(footprint) : before);
    }
    this.known = known;
    this.outlines = [...known.values()].filter((outline) => outline !== null);
    this.byRef = new Map(this.outlines.map((outline) => [outline.ref, outline]));
    this.layer.repaint();
    this.markLayer.repaint();
  }

  mark(marks: { hovered: string | null; open: string | null; selected: ReadonlySet<string> }): void {
    this.marks = marks;
    this.markLayer.repaint();
  }

  /** What is at a place, the smallest first. */
  at([longitude, latitude]: Point): string[] {
    const [x, y] = mercator((((longitude + 180) % 360) + 360) % 360 - 180, latitude);
    return this.outlines
      .filter((outline) => {
        const [w, n, e, s] = outline.box;
        return x >= w && x <= e && y >= n && y <= s && contains(outline, x, y);
      })
      .map((outline, order) => ({ outline, order, size: (outline.box[2] - outline.box[0]) * (outline.box[3] - outline.box[1]) }))
      .sort((a, b) => (Math.abs(a.size - b.size) < 0.1 * b.size ? a.order - b.order : a.size - b.size))
      .map(({ outline }) => outline.ref);
  }

  private paint(context: CanvasRenderingContext2D, painted: Painted): void {
    const inView = [...seen(this.outlines, painted)];
    const { footprint } = this.colours();
    this.dense = inView.length > MOST_DRAWN;
    if (this.dense) {
      this.paintDensity(context, painted, inView);
      return;
    }
    context.beginPath();
    for (const [outline, copy] of inView) trace(context, outline, painted, copy);
    context.strokeStyle = footprint;
    context.lineWidth = 1;
    context.globalAlpha = inView.length > 400 ? 0.6 : 0.9;
    context.stroke();
    context.globalAlpha = inView.length > 100 ? 0.03 : 0.07;
    context.fillStyle = footprint;
    context.fill("nonzero");
    context.globalAlpha = 1;
  }

  private paintDensity(context: CanvasRenderingContext2D, { world, left, top }: Painted, inView: [Outline, number][]): void {
    const cells = new Map<number, number>();
    let most = 1;
    for (const [{ box }, copy] of inView) {
      const column = Math.floor((((box[0] + box[2]) / 2 + copy) * world - left) / CELL);
      const row = Math.floor((((box[1] + box[3]) / 2) * world - top) / CELL);
      const key = row * 100_000 + column;
      const count = (cells.get(key) ?? 0) + 1;
      cells.set(key, count);
      most = Math.max(most, count);
    }
    context.fillStyle = this.colours().footprint;
    for (const [key, count] of cells) {
      const column = ((key % 100_000) + 100_000) % 100_000;
      context.globalAlpha = 0.15 + (0.7 * Math.log1p(count)) / Math.log1p(most);
      context.fillRect(column * CELL + 1, Math.floor(key / 100_000) * CELL + 1, CELL - 2, CELL - 2);
    }
    context.globalAlpha = 1;
  }

  private paintMarks(context: CanvasRenderingContext2D, painted: Painted): void {
    const { selected: colour, strong } = this.colours();
    const outlinesOf = (refs: Iterable<string>) => [...refs].flatMap((ref) => this.byRef.get(ref) ?? []);
    const stroke = (refs: Iterable<string>, style: string, width: number, fill: number) => {
      context.beginPath();
      for (const [outline, copy] of seen(outlinesOf(refs), painted)) trace(context, outline, painted, copy);
      context.strokeStyle = style;
      context.fillStyle = style;
      context.lineWidth = width;
      context.stroke();
      context.globalAlpha = fill;
      context.fill("evenodd");
      context.globalAlpha = 1;
    };
    stroke(this.marks.selected, colour, 2, 0.14);
    if (this.marks.open) stroke([this.marks.open], strong, 3, 0);
    if (this.marks.hovered) stroke([this.marks.hovered], strong, 2, 0.16);
  }
}
