// The basemap that is shipped: coastlines and borders of Natural Earth (public domain, by way of
// the package world-atlas, 1:50 million), and the countries' names with their extents.
//
// Every line is a run of deltas of coordinates in hundredths of a degree, written in base 64 as
// little-endian variable-length integers. src/map/basemap-data.ts reads it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { feature, mesh } from "topojson-client";

const PER_DEGREE = 100;
const TOLERANCE = 0.025; // degrees
const SMALLEST_ISLAND = 0.06; // degrees of extent: less is not seen on any zoom that this is for
const require = createRequire(import.meta.url);
const atlas = (name) => JSON.parse(readFileSync(require.resolve(`world-atlas/${name}`), "utf8"));

function ringsOf(collection) {
  const rings = [];
  for (const { geometry } of collection.features ?? [collection]) {
    const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
    for (const polygon of polygons) rings.push(...polygon);
  }
  return rings;
}

/**
 * A line whose longitudes do not jump at the antimeridian, so that some lie beyond 180 degrees; a ring
 * around the pole is closed along it.
 */
function unwrapped(line) {
  let turn = 0;
  const out = line.map(([x, y], index) => {
    const before = line[index - 1]?.[0] ?? x;
    if (x - before > 180) turn -= 360;
    else if (before - x > 180) turn += 360;
    return [x + turn, y];
  });
  const [first, last] = [out[0], out.at(-1)];
  if (Math.abs(last[0] - first[0]) > 180) out.push([last[0], -90], [first[0], -90], first);
  return out;
}

function extent(line) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of line) {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return box;
}

/** Fewer points, none of those left out farther than TOLERANCE away (Ramer, Douglas, Peucker). */
function simplified(line) {
  const kept = new Set([0, line.length - 1]);
  const pending = [[0, line.length - 1]];
  while (pending.length) {
    const [from, to] = pending.pop();
    const [[ax, ay], [bx, by]] = [line[from], line[to]];
    const length = Math.hypot(bx - ax, by - ay);
    let farthest = TOLERANCE;
    let at = 0;
    for (let index = from + 1; index < to; index++) {
      const [x, y] = line[index];
      const away = length ? Math.abs((bx - ax) * (ay - y) - (ax - x) * (by - ay)) / length : Math.hypot(x - ax, y - ay);
      if (away > farthest) [farthest, at] = [away, index];
    }
    if (at) {
      kept.add(at);
      pending.push([from, at], [at, to]);
    }
  }
  return line.filter((_, index) => kept.has(index));
}

function encode(lines) {
  const bytes = [];
  const put = (value) => {
    let rest = value < 0 ? -value * 2 - 1 : value * 2;
    while (rest > 127) {
      bytes.push((rest & 127) | 128);
      rest = Math.floor(rest / 128);
    }
    bytes.push(rest);
  };
  for (const line of lines.map((each) => simplified(unwrapped(each)))) {
    const points = [];
    for (const [longitude, latitude] of line) {
      const point = [Math.round(longitude * PER_DEGREE), Math.round(latitude * PER_DEGREE)];
      const last = points.at(-1);
      if (!last || last[0] !== point[0] || last[1] !== point[1]) points.push(point);
    }
    if (points.length < 2) continue;
    put(points.length);
    let [x, y] = [0, 0];
    for (const [px, py] of points) {
      put(px - x);
      put(py - y);
      [x, y] = [px, py];
    }
  }
  return Buffer.from(bytes).toString("base64");
}

function countryNames(topology) {
  const rounded = (value) => Math.round(value * 10) / 10;
  return feature(topology, topology.objects.countries)
    .features.filter(({ geometry, properties }) => geometry && properties.name)
    .map(({ geometry, properties }) => {
      const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
      // Of a country with far islands, the main part is what is meant.
      const boxes = polygons.map(([outer]) => extent(unwrapped(outer)));
      const size = (box) => (box[2] - box[0]) * (box[3] - box[1]);
      const main = boxes.reduce((best, box) => (size(box) > size(best) ? box : best));
      return [properties.name, ...main.map(rounded)];
    })
    .sort(([a], [b]) => a.localeCompare(b));
}

/** The text of the module `basemap-data`. */
export function basemap() {
  const land = atlas("land-50m.json");
  const countries = atlas("countries-50m.json");
  const coast = ringsOf(feature(land, land.objects.land)).filter((ring) => {
    const [west, south, east, north] = extent(ring);
    return Math.max(east - west, north - south) >= SMALLEST_ISLAND;
  });
  const borders = mesh(countries, countries.objects.countries, (a, b) => a !== b).coordinates;
  return [
    `export const PER_DEGREE = ${PER_DEGREE};`,
    `export const LAND = ${JSON.stringify(encode(coast))};`,
    `export const BORDERS = ${JSON.stringify(encode(borders))};`,
    `export const COUNTRIES = ${JSON.stringify(countryNames(countries))};`,
  ].join("\n");
}
