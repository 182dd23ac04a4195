/** How much there is when, of what is filled in; a click takes the dates of a bar. */

import { useEffect, useState } from "preact/hooks";
import { linesOf } from "../../api/client";
import type { HistogramLine } from "../../api/schema";
import { ApiProblem, asProblem, isAbort } from "../../api/problem";
import { Button } from "../../design/controls";
import { Progress } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { formStore, questionOf } from "./form";
import { collectionsOf } from "./collections";
import { isLongAgo, isWithin, spanOf, total, withLine, type Histogram } from "./histogram";
import { daysOf, intervalOf, type Days } from "./interval";

const ASK_AFTER = 700; // milliseconds after the last change

export function HistogramChart() {
  const trans = useTranslation();
  const session = useSession();
  const { api, host } = session;
  const form = useStore(formStore(session));
  const area = useStore(session.area);
  const datetime = useStore(session.datetime);
  const [wanted, setWanted] = useState(false);
  const [histogram, setHistogram] = useState<Histogram | null>(null);
  const [problem, setProblem] = useState<ApiProblem | null>(null);
  const [counting, setCounting] = useState(false);
  const days = daysOf(datetime);
  const listed = useAsked([api], () => collectionsOf(session)).value?.collections;
  const chosen = listed?.filter(({ id }) => form.collections.includes(id)) ?? [];
  // Not only the dates that are filled in, so that others can be seen to be better.
  const span = isLongAgo(days.from) ? datetime : intervalOf(spanOf(chosen));
  const question = questionOf({ ...form, sort: "newest" }, area, span, host.preferences.get().pageSize);
  const about = JSON.stringify(question);
  const on = (wanted || form.collections.length > 0) && listed !== undefined;

  useEffect(() => {
    if (!on) return;
    const control = new AbortController();
    const count = async () => {
      setCounting(true);
      setProblem(null);
      let known: Histogram | null = null;
      try {
        const response = await api.raw("catalog/histogram", {
          method: "POST",
          accept: "application/x-ndjson",
          body: question,
          signal: control.signal,
        });
        for await (const line of linesOf<HistogramLine>(response)) {
          if (control.signal.aborted) return;
          if (line.type === "problem") throw new ApiProblem(line, 200);
          known = withLine(known, line);
          setHistogram(known);
        }
      } catch (thrown) {
        if (!isAbort(thrown) && !control.signal.aborted) setProblem(asProblem(thrown));
      } finally {
        if (!control.signal.aborted) setCounting(false);
      }
    };
    const timer = setTimeout(() => void count(), ASK_AFTER);
    return () => {
      clearTimeout(timer);
      control.abort();
    };
  }, [about, on]);

  if (!wanted && !form.collections.length) {
    return (
      <div class="cs-actions">
        <Button kind="quiet" onClick={() => setWanted(true)}>
          {trans.__("Show how much there is")}
        </Button>
      </div>
    );
  }
  const most = Math.max(1, ...(histogram?.bins.map(({ count }) => count) ?? []));
  const sum = histogram && total(histogram);
  const take = (chosen: Days, extend: boolean) => {
    const from = extend && days.from && days.from < chosen.from ? days.from : chosen.from;
    const to = extend && days.to && days.to > chosen.to ? days.to : chosen.to;
    session.datetime.set(intervalOf({ from, to }));
  };
  return (
    <div class="cs-histogram">
      {counting && <Progress label={trans.__("Counting what there is")} value={null} />}
      {histogram && (
        <>
          <div class="cs-time-bars" aria-hidden="true">
            {histogram.bins.map((bin) => (
              <span
                key={bin.from}
                class="cs-bar-column"
                title={trans.__("%1 to %2: %3. Click to take these dates, with Shift to add them.", bin.from, bin.to, bin.atLeast ? trans.__("%1 or more", bin.count) : bin.count)}
                onClick={(event) => take(bin, event.shiftKey)}
              >
                <span
                  class={`cs-bar ${isWithin(bin, days) ? "" : "cs-bar-out"} ${bin.atLeast ? "cs-bar-more" : ""}`}
                  style={{ height: `${bin.count ? Math.max(6, (100 * bin.count) / most) : 0}%` }}
                />
              </span>
            ))}
          </div>
          <div class="cs-time-words cs-hint">
            <span>{histogram.bins[0]?.from}</span>
            <span class="cs-spacer" />
            <span role="status">
              {sum && (sum.atLeast ? trans.__("%1 or more", sum.count.toLocaleString()) : trans._n("%1 item", "%1 items", sum.count))}
            </span>
            <span class="cs-spacer" />
            <span>{histogram.bins.at(-1)?.to}</span>
          </div>
          {histogram.failed.length > 0 && (
            <p class="cs-hint" title={histogram.failed.map(({ title, error }) => `${title}: ${error}`).join("\n")}>
              {trans.__("Without %1, which could not count.", histogram.failed.map(({ title }) => title).join(", "))}
            </p>
          )}
        </>
      )}
      {problem && (
        <p class="cs-hint cs-wrong" role="alert">
          {trans.__("It could not be counted: %1", problem.message)}
        </p>
      )}
    </div>
  );
}
