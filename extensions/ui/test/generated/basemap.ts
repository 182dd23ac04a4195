/** Instead of the coastlines: nothing to draw, one country to go to. */

export const PER_DEGREE = 100;
export const LAND = "";
export const BORDERS = "";
export const COUNTRIES: [string, number, number, number, number][] = [["Slovenia", 13.4, 45.4, 16.6, 46.9]];
