/** Lines of a log: repeats folded, filtered by level and words. */

import type { LogLine } from "../../api/schema";

export const LEVELS = ["debug", "info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];

/** Lines in a row that say the same but for numbers. */
export interface Fold {
  level: Level;
  /** The first one's id: it stays when more come. */
  key: number;
  lines: LogLine[];
}

/** A message without what differs from one repeat to the next. */
function shape({ level, message }: LogLine): string {
  return `${level} ${message.slice(0, 2000).replace(/0x[0-9a-f]+|\b[0-9a-f]{8,}\b|\d+([.:]\d+)*/gi, "#")}`;
}

/** Fold repeats. */
export function foldLines(lines: readonly LogLine[]): Fold[] {
  const folds: Fold[] = [];
  let last = "";
  for (const line of lines) {
    const now = shape(line);
    const fold = folds.at(-1);
    if (fold && now === last) fold.lines.push(line);
    else folds.push({ level: line.level, key: line.id, lines: [line] });
    last = now;
  }
  return folds;
}

/** Those of at least a level that have all words. */
export function filterLines(lines: readonly LogLine[], level: Level, text: string): LogLine[] {
  const least = LEVELS.indexOf(level);
  const wanted = text.trim().toLowerCase();
  return lines.filter((line) => LEVELS.indexOf(line.level) >= least && (!wanted || line.message.toLowerCase().includes(wanted)));
}

/** The text in pieces, those that were searched for marked. */
export function marked(message: string, text: string): [piece: string, hit: boolean][] {
  const wanted = text.trim().toLowerCase();
  if (!wanted) return [[message, false]];
  const pieces: [string, boolean][] = [];
  const low = message.toLowerCase();
  let at = 0;
  for (let hit = low.indexOf(wanted); hit >= 0 && pieces.length < 200; hit = low.indexOf(wanted, at)) {
    if (hit > at) pieces.push([message.slice(at, hit), false]);
    pieces.push([message.slice(hit, hit + wanted.length), true]);
    at = hit + wanted.length;
  }
  if (at < message.length) pieces.push([message.slice(at), false]);
  return pieces;
}

/** The place of the last one that fits; -1: none does. */
export function lastWhere<T>(all: readonly T[], fits: (one: T) => boolean): number {
  for (let at = all.length - 1; at >= 0; at--) if (fits(all[at] as T)) return at;
  return -1;
}
