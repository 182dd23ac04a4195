/** The shipped coastlines and borders, unpacked when a map is first shown; see bundle/basemap.mjs. */

import { BORDERS, COUNTRIES, LAND, PER_DEGREE } from "generated:basemap";
import { mercator, type Box } from "./geo";

/** A line in Web Mercator from 0 to 1: x, y, x, y, … and its extent. */
export interface Line {
  points: Float64Array;
  box: Box;
}

export interface Country {
  name: string;
  box: Box;
}

function decode(text: string): Line[] {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const lines: Line[] = [];
  let at = 0;
  const read = () => {
    let value = 0;
    let scale = 1;
    let byte: number;
    do {
      byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      scale *= 128;
    } while (byte & 128);
    return value % 2 ? -(value + 1) / 2 : value / 2;
  };
  while (at < bytes.length) {
    const count = read();
    const points = new Float64Array(2 * count);
    const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
    let longitude = 0;
    let latitude = 0;
    for (let index = 0; index < count; index++) {
      longitude += read();
      latitude += read();
      const [x, y] = mercator(longitude / PER_DEGREE, latitude / PER_DEGREE);
      points[2 * index] = x;
      points[2 * index + 1] = y;
      box[0] = Math.min(box[0], x);
      box[1] = Math.min(box[1], y);
      box[2] = Math.max(box[2], x);
      box[3] = Math.max(box[3], y);
    }
    // What lies beyond the antimeridian is seen at the other side, too.
    for (const turn of box[2] > 1 ? [0, -1] : box[0] < 0 ? [0, 1] : [0]) lines.push(turned({ points, box }, turn));
  }
  return lines;
}

function turned({ points, box }: Line, turn: number): Line {
  if (!turn) return { points, box };
  return {
    points: points.map((value, index) => (index % 2 ? value : value + turn)),
    box: [box[0] + turn, box[1], box[2] + turn, box[3]],
  };
}

let unpacked: { land: Line[]; borders: Line[] } | undefined;

export function basemapLines(): { land: Line[]; borders: Line[] } {
  return (unpacked ??= { land: decode(LAND), borders: decode(BORDERS) });
}

export function countries(): Country[] {
  return COUNTRIES.map(([name, ...box]) => ({ name, box }));
}

/**
 * A ring or line cut to a box, so that a continent is not drawn for a village. Of lines, pieces that
 * leave and come back are joined along the edge, outside of what is seen.
 *
 * Source: Sutherland and Hodgman (1974), "Reentrant polygon clipping".
 */
export function clip(points: Float64Array, [west, north, east, south]: Box, isRing: boolean): number[] {
  let kept = Array.from(points);
  const edges: [axis: 0 | 1, limit: number, below: boolean][] = [
    [0, west, false],
    [0, east, true],
    [1, north, false],
    [1, south, true],
  ];
  for (const [axis, limit, below] of edges) {
    const from = kept;
    kept = [];
    const inside = (value: number) => (below ? value <= limit : value >= limit);
    const count = from.length / 2;
    for (let index = isRing ? 0 : 1; index < count; index++) {
      const before = index === 0 ? count - 1 : index - 1;
      const [px, py] = [from[2 * before] as number, from[2 * before + 1] as number];
      const [x, y] = [from[2 * index] as number, from[2 * index + 1] as number];
      const [was, is] = axis === 0 ? [px, x] : [py, y];
      if (!isRing && index === 1 && inside(was)) kept.push(px, py);
      if (inside(was) !== inside(is)) {
        const share = (limit - was) / (is - was);
        kept.push(axis === 0 ? limit : px + share * (x - px), axis === 0 ? py + share * (y - py) : limit);
      }
      if (inside(is)) kept.push(x, y);
    }
    if (!kept.length) return kept;
  }
  return kept;
}
