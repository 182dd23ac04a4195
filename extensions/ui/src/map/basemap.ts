/** The shipped basemap: coastlines and borders drawn on tiles, names of countries above. */

import * as L from "leaflet";
import { basemapLines, clip, countries, type Line } from "./basemap-data";
import { CanvasLayer, type Painter } from "./canvas-layer";
import type { Colours } from "./colours";
import { mercator, type Box } from "./geo";

const TILE = 512;
const MARGIN = 6; // pixels: edges of what is cut are not seen
const LABEL_FROM = 42; // pixels that a country needs for each letter's share of its name

function trace(context: CanvasRenderingContext2D, lines: readonly Line[], box: Box, size: number, isRing: boolean): void {
  const [west, north, east, south] = box;
  context.beginPath();
  for (const line of lines) {
    const [left, top, right, bottom] = line.box;
    if (right < west || left > east || bottom < north || top > south) continue;
    const inside = left >= west && right <= east && top >= north && bottom <= south;
    const points = inside ? line.points : clip(line.points, box, isRing);
    for (let index = 0; index < points.length; index += 2) {
      const x = ((points[index] as number) - west) * size;
      const y = ((points[index + 1] as number) - north) * size;
      if (index) context.lineTo(x, y);
      else context.moveTo(x, y);
    }
    if (isRing) context.closePath();
  }
}

/** Land, water and borders. */
export class BasemapTiles extends L.GridLayer {
  constructor(private colours: Colours) {
    super({ tileSize: TILE, minZoom: 0, maxZoom: 22, pane: "tilePane", updateWhenZooming: false });
  }

  recolour(colours: Colours): void {
    this.colours = colours;
    this.redraw();
  }

  protected override createTile(coords: L.Coords): HTMLElement {
    const canvas = document.createElement("canvas");
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.height = TILE * scale;
    const context = canvas.getContext("2d");
    if (!context) return canvas;
    const { water, land, coast, border } = this.colours;
    const across = 2 ** coords.z * (256 / TILE); // tiles around the world
    const margin = MARGIN / TILE;
    const column = ((coords.x % across) + across) % across;
    const box: Box = [
      (column - margin) / across,
      (coords.y - margin) / across,
      (column + 1 + margin) / across,
      (coords.y + 1 + margin) / across,
    ];
    context.scale(scale, scale);
    context.fillStyle = water;
    context.fillRect(0, 0, TILE, TILE);
    context.translate(-MARGIN, -MARGIN);
    const { land: rings, borders } = basemapLines();
    trace(context, rings, box, across * TILE, true);
    context.fillStyle = land;
    context.fill("evenodd");
    context.strokeStyle = coast;
    context.lineWidth = 0.8;
    context.stroke();
    trace(context, borders, box, across * TILE, false);
    context.strokeStyle = border;
    context.lineWidth = 0.8;
    context.setLineDash([4, 3]);
    context.stroke();
    return canvas;
  }
}

/** Names of the countries that are large enough to carry them. */
export function labelLayer(colours: () => Colours): CanvasLayer {
  const all = countries().map(({ name, box: [west, south, east, north] }) => {
    const [left, top] = mercator(west, north);
    const [right, bottom] = mercator(east, south);
    return { name, x: (left + right) / 2, y: (top + bottom) / 2, width: right - left };
  });
  all.sort((a, b) => b.width - a.width);
  const paint: Painter = (context, { place, world, size }) => {
    const { label, halo } = colours();
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 3;
    const taken: Box[] = [];
    for (const { name, x, y, width } of all) {
      if (width * world < Math.max(LABEL_FROM, 4 * name.length)) continue;
      for (const [px, py] of place(x, y)) {
        if (px < 0 || py < 0 || px > size.x || py > size.y) continue;
        const half = context.measureText(name).width / 2 + 4;
        const box: Box = [px - half, py - 9, px + half, py + 9];
        if (taken.some(([w, n, e, s]) => box[0] < e && box[2] > w && box[1] < s && box[3] > n)) continue;
        taken.push(box);
        context.strokeStyle = halo;
        context.strokeText(name, px, py);
        context.fillStyle = label;
        context.fillText(name, px, py);
      }
    }
  };
  return new CanvasLayer(paint, "labels");
}
