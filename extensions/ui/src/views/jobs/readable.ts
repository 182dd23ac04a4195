/**
 * Lines of a log as text that can be read: what a terminal would obey is left out, and what would
 * be unseen or turn the direction of a line is shown as a mark.
 */

/** Colours, moves of the cursor, titles of windows, links. */
const TERMINAL = /\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[@-Z\\-_]/g;
const UNSEEN = /(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

export function readable(text: string): string {
  return text.replace(TERMINAL, "").trimEnd().split("\n").map(lastWritten).join("\n").replace(UNSEEN, "\ufffd");
}

/** Of a bar of progress, which is written over, its last state. */
function lastWritten(line: string): string {
  const whole = line.endsWith("\r") ? line.slice(0, -1) : line;
  return whole.slice(whole.lastIndexOf("\r") + 1);
}
