/** When the results were sensed, as bars; a window over them says which are shown. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { IconButton } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { dayOf, dayTime } from "./interval";
import type { FoundItem } from "./search";
import { catalogueUi } from "./ui-state";

const DAY = 86_400_000;
const MOST_BARS = 60;
const PLAY_EVERY = 900;

interface Bars {
  /** The first day of each bar. */
  starts: string[];
  counts: number[];
  days: number;
}

export function barsOf(items: readonly Pick<FoundItem, "datetime">[]): Bars | null {
  const times = items.flatMap(({ datetime }) => (datetime ? [dayTime(datetime.slice(0, 10))] : [])).filter(Number.isFinite);
  if (times.length < 2) return null;
  const first = times.reduce((least, time) => Math.min(least, time), Infinity);
  const last = times.reduce((most, time) => Math.max(most, time), -Infinity);
  const span = (last - first) / DAY + 1;
  if (span < 2) return null;
  const days = Math.ceil(span / MOST_BARS);
  const counts = new Array<number>(Math.ceil(span / days)).fill(0);
  for (const time of times) {
    const bar = Math.floor((time - first) / DAY / days);
    counts[bar] = (counts[bar] ?? 0) + 1;
  }
  return { starts: counts.map((_, bar) => dayOf(first + bar * days * DAY)), counts, days };
}

export function TimeSlider({ items }: { items: readonly FoundItem[] }) {
  const trans = useTranslation();
  const ui = catalogueUi(useSession());
  const window = useStore(ui.window);
  const [playing, setPlaying] = useState(false);
  const bars = useMemo(() => barsOf(items), [items]);
  const last = (bars?.counts.length ?? 1) - 1;
  const endOf = (bar: number) => (bars ? dayOf(dayTime(bars.starts[bar] ?? "") + (bars.days - 1) * DAY) : "");
  const barOf = (day: string) => Math.max(0, bars ? bars.starts.reduce((found, start, bar) => (start <= day ? bar : found), 0) : 0);
  const [from, to] = window ? [barOf(window[0]), barOf(window[1])] : [0, last];
  const set = (start: number, end: number) => {
    if (!bars) return;
    const [a, b] = [Math.max(0, Math.min(start, last)), Math.max(0, Math.min(end, last))];
    ui.window.set(a === 0 && b === last ? null : [bars.starts[Math.min(a, b)] ?? "", endOf(Math.max(a, b))]);
  };
  const step = () => {
    if (!bars) return;
    const width = window ? to - from : 0;
    let next = window ? from + 1 : 0;
    // What is empty is not shown.
    while (next + width < last && bars.counts.slice(next, next + width + 1).every((count) => count === 0)) next++;
    if (next + width > last) setPlaying(false);
    else set(next, next + width);
  };
  useEffect(() => {
    if (!playing) return;
    const timer = setTimeout(step, PLAY_EVERY);
    return () => clearTimeout(timer);
  });
  if (!bars) return null;
  const most = Math.max(...bars.counts);
  const percent = (bar: number) => (100 * bar) / bars.counts.length;
  return (
    <section class="cs-time" aria-label={trans.__("Dates of the results")}>
      <IconButton
        icon={playing ? "pause" : "play"}
        label={playing ? trans.__("Stop") : trans.__("Go through the dates")}
        onClick={() => setPlaying(!playing)}
      />
      <div class="cs-time-body">
        <div class="cs-time-bars" aria-hidden="true">
          {bars.counts.map((count, bar) => (
            <span
              key={bar}
              title={trans._n("%2: %1 item", "%2: %1 items", count, bars.starts[bar])}
              class={bar >= from && bar <= to ? "cs-bar" : "cs-bar cs-bar-out"}
              style={{ height: `${count ? Math.max(8, (100 * count) / most) : 0}%` }}
              onClick={() => set(bar, bar)}
            />
          ))}
          <span class="cs-time-window" style={{ left: `${percent(from)}%`, right: `${100 - percent(to + 1)}%` }} />
        </div>
        <div class="cs-time-ranges">
          <input
            type="range"
            min={0}
            max={last}
            value={from}
            aria-label={trans.__("First date that is shown")}
            aria-valuetext={bars.starts[from]}
            onInput={(event) => set(Math.min(Number(event.currentTarget.value), to), to)}
          />
          <input
            type="range"
            min={0}
            max={last}
            value={to}
            aria-label={trans.__("Last date that is shown")}
            aria-valuetext={endOf(to)}
            onInput={(event) => set(from, Math.max(Number(event.currentTarget.value), from))}
          />
        </div>
        <div class="cs-time-words cs-hint">
          <span>{bars.starts[from]}</span>
          <span class="cs-spacer" />
          <span>{window ? trans.__("only these dates are shown") : trans._n("one bar is %1 day", "one bar is %1 days", bars.days)}</span>
          <span class="cs-spacer" />
          <span>{endOf(to)}</span>
        </div>
      </div>
      <IconButton icon="clear" label={trans.__("Show all dates")} disabled={!window} onClick={() => ui.window.set(null)} />
    </section>
  );
}
