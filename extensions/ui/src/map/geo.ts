/** Areas in longitude and latitude (EPSG:4326): what they cover, how they are read and written. */

import type { Area } from "../state/session";

/** west, south, east, north. */
export type Box = [number, number, number, number];
export type Point = [longitude: number, latitude: number];

const EARTH_RADIUS = 6371.0088; // kilometres, mean (IUGG)
const MOST_POINTS = 20_000;
const FARTHEST_EAST = 540; // degrees: outlines across the antimeridian may go on beyond 180

export function polygonsOf(area: Area): number[][][][] {
  return area.type === "Polygon" ? [area.coordinates] : area.coordinates;
}

/** The extent of points; those that are not on the globe, which others may have written, do not count. */
export function boxOf(points: Iterable<readonly number[]>): Box | null {
  const box: Box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    if (x === undefined || y === undefined || !(Math.abs(x) <= FARTHEST_EAST && Math.abs(y) <= 90)) continue;
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
  }
  return box[0] <= box[2] ? box : null;
}

export function areaBox(area: Area): Box | null {
  return boxOf(polygonsOf(area).flat(2));
}

export function rectangle([west, south, east, north]: Box): Area {
  return {
    type: "Polygon",
    coordinates: [
      [
        [west, south],
        [east, south],
        [east, north],
        [west, north],
        [west, south],
      ],
    ],
  };
}

/** Whether it is a rectangle along the degrees. */
export function isRectangle(area: Area): boolean {
  const [ring, ...holes] = polygonsOf(area)[0] ?? [];
  if (!ring || holes.length || area.type !== "Polygon" || ring.length !== 5) return false;
  const box = boxOf(ring);
  return !!box && ring.every(([x, y]) => (x === box[0] || x === box[2]) && (y === box[1] || y === box[3]));
}

/**
 * Square kilometres on the sphere, holes left out.
 *
 * Source: Chamberlain and Duquette (2007), "Some Algorithms for Polygons on a Sphere", JPL 07-03.
 */
export function squareKilometres(area: Area): number {
  const radians = Math.PI / 180;
  const ofRing = (ring: number[][]) => {
    let sum = 0;
    for (let index = 0; index + 1 < ring.length; index++) {
      const [x1 = 0, y1 = 0] = ring[index] ?? [];
      const [x2 = 0, y2 = 0] = ring[index + 1] ?? [];
      sum += (x2 - x1) * radians * (2 + Math.sin(y1 * radians) + Math.sin(y2 * radians));
    }
    return Math.abs((sum * EARTH_RADIUS ** 2) / 2);
  };
  return polygonsOf(area).reduce(
    (sum, [outer, ...holes]) => sum + ofRing(outer ?? []) - holes.reduce((gaps, hole) => gaps + ofRing(hole), 0),
    0,
  );
}

/** Why a text is no area; the message is for people. */
export class NoArea extends Error {}

/**
 * An area from GeoJSON (geometry, Feature or FeatureCollection), WKT, or four numbers
 * `west, south, east, north`.
 *
 * @throws NoArea
 */
export function parseArea(text: string): Area {
  const trimmed = text.trim();
  if (!trimmed) throw new NoArea("There is nothing to read.");
  const area = trimmed.startsWith("{") ? fromJson(trimmed) : /^[-+\d.]/.test(trimmed) ? fromNumbers(trimmed) : fromWkt(trimmed);
  const points = polygonsOf(area).flat(2);
  if (points.length > MOST_POINTS) throw new NoArea(`It has more than ${MOST_POINTS} corners: simplify it first.`);
  for (const [x, y] of points) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) throw new NoArea("A corner has no numbers.");
    if (Math.abs(x as number) > 180 || Math.abs(y as number) > 90) {
      throw new NoArea(`${x}, ${y} is not longitude, latitude in degrees: the area may be in another projection.`);
    }
  }
  return area;
}

function fromNumbers(text: string): Area {
  const numbers = text.split(/[\s,;]+/).map(Number);
  if (numbers.length !== 4 || numbers.some(Number.isNaN)) {
    throw new NoArea("A box is four numbers: west, south, east, north in degrees.");
  }
  const [west, south, east, north] = numbers as Box;
  if (south >= north) throw new NoArea("A box has its south before its north: west, south, east, north.");
  if (west < east) return rectangle([west, south, east, north]);
  // Across the antimeridian: two parts (RFC 7946, section 3.1.9).
  const parts = [rectangle([west, south, 180, north]), rectangle([-180, south, east, north])];
  return { type: "MultiPolygon", coordinates: parts.flatMap(polygonsOf) };
}

function fromJson(text: string): Area {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new NoArea("This is no GeoJSON: the JSON cannot be read.");
  }
  const polygons = collect(value, 0);
  if (!polygons.length) throw new NoArea("This GeoJSON has no Polygon and no MultiPolygon.");
  return joined(polygons);
}

function collect(value: unknown, depth: number): number[][][][] {
  if (typeof value !== "object" || value === null || depth > 8) return [];
  const { type, coordinates, geometry, geometries, features } = value as Record<string, unknown>;
  switch (type) {
    case "Feature":
      return collect(geometry, depth + 1);
    case "FeatureCollection":
      return Array.isArray(features) ? features.flatMap((feature) => collect(feature, depth + 1)) : [];
    case "GeometryCollection":
      return Array.isArray(geometries) ? geometries.flatMap((part) => collect(part, depth + 1)) : [];
    case "Polygon":
      return [rings(coordinates)];
    case "MultiPolygon":
      return Array.isArray(coordinates) ? coordinates.map(rings) : [];
    default:
      return [];
  }
}

function rings(value: unknown): number[][][] {
  if (!Array.isArray(value) || !value.length) throw new NoArea("A polygon has no ring.");
  return value.map((ring: unknown) => {
    if (!Array.isArray(ring) || ring.length < 3) throw new NoArea("A ring has three and more corners.");
    return closed(
      ring.map((point: unknown) => {
        if (!Array.isArray(point) || point.length < 2) throw new NoArea("A corner has no longitude and latitude.");
        return [Number(point[0]), Number(point[1])];
      }),
    );
  });
}

function closed(ring: number[][]): number[][] {
  const [first, last] = [ring[0], ring.at(-1)];
  return first && last && (first[0] !== last[0] || first[1] !== last[1]) ? [...ring, [...first]] : ring;
}

function joined(polygons: number[][][][]): Area {
  const [only] = polygons;
  return polygons.length === 1 && only ? { type: "Polygon", coordinates: only } : { type: "MultiPolygon", coordinates: polygons };
}

function fromWkt(text: string): Area {
  const match = /^(?:SRID=4326;)?\s*(MULTI)?POLYGON\s*(?:Z\s*)?(\(.*\))\s*;?$/is.exec(text);
  if (!match?.[2]) throw new NoArea("This is neither GeoJSON, nor WKT of a POLYGON or MULTIPOLYGON, nor four numbers.");
  if (!/^[\d\s().,eE+-]+$/.test(match[2])) throw new NoArea("This WKT has something in it that is no number.");
  const json = match[2]
    .replace(/[-+]?[\d.]+(?:[eE][-+]?\d+)?(?:\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?)+/g, (point) => `[${point.trim().split(/\s+/).map(Number).join(",")}]`)
    .replaceAll("(", "[")
    .replaceAll(")", "]");
  let nested: unknown;
  try {
    nested = JSON.parse(json);
  } catch {
    throw new NoArea("This WKT cannot be read: look at its brackets and commas.");
  }
  return joined(match[1] ? (nested as unknown[]).map(rings) : [rings(nested)]);
}

function hemisphere(value: number, letters: string): string {
  return `${Math.abs(value).toFixed(2)}° ${letters[value < 0 ? 1 : 0]}`;
}

/** `13.40° E – 16.60° E, 45.40° N – 46.90° N` */
export function boxText([west, south, east, north]: Box): string {
  return `${hemisphere(west, "EW")} – ${hemisphere(east, "EW")}, ${hemisphere(south, "NS")} – ${hemisphere(north, "NS")}`;
}

/** A place that is written as numbers: `46.05, 14.5` is latitude, longitude as maps on the web have it. */
export function parsePlace(text: string): Point | null {
  const match = /^\s*([-+]?\d+(?:\.\d+)?)\s*°?\s*([NS])?\s*[,;\s]\s*([-+]?\d+(?:\.\d+)?)\s*°?\s*([EW])?\s*$/i.exec(text);
  if (!match) return null;
  const latitude = Number(match[1]) * (match[2]?.toUpperCase() === "S" ? -1 : 1);
  const longitude = Number(match[3]) * (match[4]?.toUpperCase() === "W" ? -1 : 1);
  return Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 ? [longitude, latitude] : null;
}

/** Web Mercator as numbers from 0 to 1, from the north-west corner. */
export function mercator(longitude: number, latitude: number): Point {
  const sine = Math.sin((Math.max(-85.05, Math.min(85.05, latitude)) * Math.PI) / 180);
  return [(longitude + 180) / 360, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}
