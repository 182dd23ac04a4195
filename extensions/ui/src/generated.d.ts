declare module "generated:styles" {
  const text: string;
  export default text;
}

declare module "generated:basemap" {
  /** Coordinates are written in this part of a degree. */
  export const PER_DEGREE: number;
  /** Rings of coastlines, see bundle/basemap.mjs. */
  export const LAND: string;
  /** Lines of borders. */
  export const BORDERS: string;
  /** Name, west, south, east, north. */
  export const COUNTRIES: [string, number, number, number, number][];
}

declare module "generated:panel" {
  /** Changes when the module of the panel does; empty while it is built after every change. */
  export const VERSION: string;
}
