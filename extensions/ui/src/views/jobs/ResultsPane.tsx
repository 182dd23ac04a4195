/** What a job made: on the map, as files, as values over time. */

import { useMemo, useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import type { JobSummary } from "../../api/schema";
import { Button, Checkbox, IconButton, SelectField } from "../../design/controls";
import { Empty, ProblemNote, Waiting } from "../../design/feedback";
import { bytes, moment } from "../../design/figures";
import { safeHref } from "../../design/link";
import { useTranslation } from "../../i18n";
import { LayerLegend } from "../../map/LayerLegend";
import type { Point } from "../../map/geo";
import { useAsked, useSession } from "../../state/hooks";
import { insertCode, publish, stageResults } from "./actions";
import { isOpen } from "./listing";
import { bestHref, bucketAndKey, resultOf, type Result, type ResultFile } from "./results";
import { ResultsMap, type Shown } from "./ResultsMap";
import { SeriesChart } from "./SeriesChart";

const FIRST_FOLDED = 6;
const MOST_LAYERS = 200; // of a time series, as the server has it

export function ResultsPane({ job, shown }: { job: JobSummary; shown: boolean }) {
  const trans = useTranslation();
  const { api } = useSession();
  const asked = useAsked(
    [job.id, job.result_count, job.status],
    job.result_count > 0 ? (signal) => api.get("/jobs/{job_id}/results", { path: { job_id: job.id }, signal }) : null,
  );
  const results = useMemo(() => (asked.value?.features ?? []).map((item) => resultOf(job.id, item)), [asked.value]);
  if (!job.result_count) {
    return (
      <Empty icon="layers" title={isOpen(job) ? trans.__("There are no results yet") : trans.__("There are no results")}>
        {isOpen(job) ? trans.__("They appear here when the job has finished.") : trans.__("This job ended without any. Its log may say why.")}
      </Empty>
    );
  }
  if (asked.problem) {
    return (
      <div class="cs-pad">
        <ProblemNote problem={asked.problem} retry={asked.retry} />
      </div>
    );
  }
  if (!results.length) return asked.waiting ? <Waiting>{trans.__("Reading the results…")}</Waiting> : <Empty icon="layers" title={trans.__("There are no results")} />;
  return <Results job={job} results={results} shown={shown} />;
}

function Results({ job, results, shown }: { job: JobSummary; results: readonly Result[]; shown: boolean }) {
  const trans = useTranslation();
  const session = useSession();
  const [layers, setLayers] = useState<readonly Shown[]>(() => (results[0] ? [{ layer: results[0].layer, show: "", opacity: 1 }] : []));
  const [at, setAt] = useState<Point | null>(null);
  const change = (layer: string, changes: Partial<Shown> | null) =>
    setLayers((before) => {
      const known = before.find((each) => each.layer === layer);
      if (!changes) return before.filter((each) => each.layer !== layer);
      if (known) return before.map((each) => (each.layer === layer ? { ...each, ...changes } : each));
      return [...before, { layer, show: "", opacity: 1, ...changes }];
    });
  const top = layers.at(-1);
  return (
    <div class="cs-job-results">
      <div class="cs-results-side">
        <div class="cs-actions">
          <Button icon="code" onClick={() => void insertCode(session, trans, job, "results")}>
            {session.host.insertCode ? trans.__("Open in the notebook") : trans.__("Copy code that opens them")}
          </Button>
          {job.actions.includes("publish") && (
            <Button icon="share" onClick={() => void publish(session, trans, job)}>
              {trans.__("Share in the catalogue")}
            </Button>
          )}
          {job.spec.engine !== "staging" && (
            <Button icon="stage" onClick={() => void stageResults(session, trans, job)}>
              {trans.__("Copy to the bucket")}
            </Button>
          )}
        </div>
        {results.map((result, index) => (
          <ResultEntry
            key={result.layer}
            result={result}
            shown={layers.find(({ layer }) => layer === result.layer) ?? null}
            folded={results.length > FIRST_FOLDED || index > 0}
            onChange={(changes) => change(result.layer, changes)}
          />
        ))}
      </div>
      <div class="cs-results-map">
        <ResultsMap layers={layers} shown={shown} at={at} onClick={setAt} />
        {at && top && (
          <SeriesChart
            key={`${at.join()} ${top.show}`}
            at={at}
            layers={results.slice(0, MOST_LAYERS).map(({ layer }) => layer)}
            show={results.length > 1 || top.show ? top.show : ""}
            onClose={() => setAt(null)}
          />
        )}
      </div>
    </div>
  );
}

interface ResultEntryProps {
  result: Result;
  shown: Shown | null;
  folded: boolean;
  onChange: (changes: Partial<Shown> | null) => void;
}

function ResultEntry({ result, shown, folded, onChange }: ResultEntryProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const { layer, title } = result;
  const info = useAsked([layer, !!shown], shown ? (signal) => api.get("/layers/{layer}", { path: { layer }, signal }) : null);
  const renderings = info.value?.renderings ?? [];
  const why = info.problem?.message || info.value?.problem || "";
  const show = shown?.show || (renderings[0]?.id ?? "");
  return (
    <section class="cs-results-layer" aria-label={title}>
      <Checkbox
        checked={!!shown}
        onChecked={(on) => onChange(on ? {} : null)}
        label={
          <>
            <strong>{title}</strong> {result.days && <span class="cs-hint">{result.days}</span>}
          </>
        }
      />
      {shown && why && (
        <p class="cs-hint cs-wrong" role="alert">
          {trans.__("It cannot be shown: %1", why)}
        </p>
      )}
      {shown && !why && (
        <>
          {!info.value && <Waiting>{trans.__("Reading what can be shown…")}</Waiting>}
          {renderings.length > 1 && (
            <SelectField
              quiet
              label={trans.__("What is shown of %1", title)}
              value={show}
              options={renderings.map((each) => [each.id, each.title] as const)}
              onValue={(value) => onChange({ show: value })}
            />
          )}
          <LayerLegend layer={layer} show={show} wanted={renderings.length > 0} />
          <label class="cs-results-opacity">
            <span class="cs-hint" aria-hidden="true">
              {trans.__("Opacity")}
            </span>
            <input
              type="range"
              min={0}
              max={1}
              step={0.05}
              value={shown.opacity}
              aria-label={trans.__("Opacity of %1", title)}
              onInput={(event) => onChange({ opacity: Number(event.currentTarget.value) })}
            />
          </label>
        </>
      )}
      <details open={!folded}>
        <summary>{trans._n("%1 file", "%1 files", result.files.length)}</summary>
        <ul class="cs-plain-list">
          {result.files.map((file) => (
            <FileLine key={file.key} file={file} />
          ))}
        </ul>
      </details>
    </section>
  );
}

function FileLine({ file }: { file: ResultFile }) {
  const trans = useTranslation();
  const session = useSession();
  const name = file.title || file.key;
  const best = bestHref(file);
  const place = bucketAndKey(best);
  const copied = (text: string, said: string) =>
    navigator.clipboard.writeText(text).then(
      () => session.say(said, "success"),
      () => session.say(trans.__("The browser did not let it be copied."), "error"),
    );
  const lend = async () => {
    if (!place) return;
    try {
      const { url, expires } = await session.api.post("/storage/links", { body: place });
      await copied(url, trans.__("A link for anyone who has it is copied. It works until %1.", moment(expires)));
    } catch (thrown) {
      const { message, hint } = asProblem(thrown);
      session.say(`${message} ${hint}`.trim(), "error");
    }
  };
  const download = async () => {
    if (!place) {
      open(safeHref(best) ?? "", "_blank", "noopener,noreferrer");
      return;
    }
    try {
      saveFile((await session.api.post("/storage/links", { body: { ...place, download: true } })).url);
    } catch (thrown) {
      const { message, hint } = asProblem(thrown);
      session.say(`${message} ${hint}`.trim(), "error");
    }
  };
  return (
    <li class="cs-place-line">
      <span class="cs-cut" title={name}>
        {name}
      </span>
      {file.size !== null && <span class="cs-hint">{bytes(file.size)}</span>}
      <span class="cs-spacer" />
      <IconButton icon="copy" label={trans.__("Copy the address of %1", name)} disabled={!file.hrefs.length} onClick={() => void copied(file.hrefs[0] ?? "", trans.__("Copied."))} />
      {place && <IconButton icon="share" label={trans.__("Copy a link to %1 for a colleague", name)} onClick={() => void lend()} />}
      <IconButton icon="download" label={trans.__("Download %1", name)} disabled={!place && !safeHref(best)} onClick={() => void download()} />
    </li>
  );
}

const BEGUN = 60_000; // milliseconds after which a download has begun

/** Let the browser save what it is told to save: no window opens, and the page stays as it is. */
function saveFile(address: string): void {
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = safeHref(address) ?? "about:blank";
  document.body.append(frame);
  setTimeout(() => frame.remove(), BEGUN);
}
