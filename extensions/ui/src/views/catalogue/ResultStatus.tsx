/** "312 so far, 2 archives still searching, 1 failed: why." Never a number that is not known. */

import { useState } from "preact/hooks";
import { Button, IconButton } from "../../design/controls";
import { Badge, Progress } from "../../design/feedback";
import { useTranslation, type Translation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { searchOf, type SearchState } from "./search";

/** The count in words. */
export function countWords({ phase, items, next, matched, complete }: SearchState, trans: Translation): string {
  const count = items.length;
  const known = matched === null ? null : Math.max(matched, count);
  if (phase === "searching") return trans._n("%1 so far", "%1 so far", count);
  if (phase === "stopped" || phase === "failed") return trans._n("%1 until it stopped", "%1 until it stopped", count);
  if (next) return known === null || !complete ? trans.__("%1, and there are more", count) : trans.__("%1 of %2", count, known);
  return complete ? trans._n("%1 item, that is all", "%1 items, that is all", count) : trans._n("%1 item from the archives that answered", "%1 items from the archives that answered", count);
}

export function ResultStatus() {
  const trans = useTranslation();
  const search = searchOf(useSession());
  const state = useStore(search.state);
  const [open, setOpen] = useState(false);
  const reports = [...state.reports.values()];
  const failed = reports.filter(({ status }) => status === "error" || status === "timeout" || status === "unsupported");
  const waiting = state.phase === "searching" && state.asked !== null ? Math.max(0, state.asked - reports.length) : 0;
  const searching = state.phase === "searching";
  const [first] = failed;
  return (
    <div class="cs-status">
      <div class="cs-status-line">
        <div role="status" class="cs-status-words">
          <strong>{countWords(state, trans)}</strong>
          {searching && waiting > 0 && <span>, {trans._n("%1 archive still searching", "%1 archives still searching", waiting)}</span>}
          {first && (
            <span class="cs-wrong">
              , {failed.length === 1 ? trans.__("%1 failed: %2", first.title, firstSentence(first.error)) : trans.__("%1 archives failed", failed.length)}
            </span>
          )}
        </div>
        {searching && (
          <Button icon="close" onClick={() => search.stop()}>
            {trans.__("Stop")}
          </Button>
        )}
        {reports.length > 0 && (
          <IconButton
            icon={open ? "down" : "info"}
            label={open ? trans.__("Hide how each archive did") : trans.__("How each archive did")}
            pressed={open}
            onClick={() => setOpen(!open)}
          />
        )}
      </div>
      {searching && <Progress label={trans.__("Searching")} value={state.asked ? reports.length / state.asked : null} />}
      {open && (
        <ul class="cs-plain-list cs-reports">
          {reports.map(({ id, title, status, returned, matched, elapsed, error, note, applied_here: here, mirrors }) => (
            <li key={id}>
              <div class="cs-report-head">
                <strong>{title}</strong>
                <Badge tone={status === "ok" ? "success" : status === "skipped" ? "plain" : "error"}>{statusWord(status, trans)}</Badge>
                <span class="cs-spacer" />
                <span class="cs-soft">{status === "ok" ? trans.__("%1 in %2 s", matched === null || matched === undefined ? returned : trans.__("%1 of %2", returned, matched), elapsed.toFixed(1)) : ""}</span>
              </div>
              {error && <p class="cs-hint cs-wrong">{error}</p>}
              {note && <p class="cs-hint">{note}</p>}
              {mirrors > 0 && <p class="cs-hint">{trans._n("%1 is a mirror of another archive's", "%1 are mirrors of other archives'", mirrors)}</p>}
              {here && here.length > 0 && <p class="cs-hint">{trans.__("It cannot search by %1; that was done here.", here.join(", "))}</p>}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function statusWord(status: string, trans: Translation): string {
  switch (status) {
    case "ok":
      return trans.__("answered");
    case "skipped":
      return trans.__("not asked");
    case "timeout":
      return trans.__("too slow");
    case "unsupported":
      return trans.__("cannot be asked this");
    default:
      return trans.__("failed");
  }
}

const SHORT = 90;

function firstSentence(text: string): string {
  const end = text.search(/[.:;] /);
  const sentence = end > 0 ? text.slice(0, end) : text;
  return sentence.length > SHORT ? `${sentence.slice(0, SHORT)}…` : sentence.replace(/\.$/, "");
}
