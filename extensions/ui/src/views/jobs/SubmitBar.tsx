/** Below every form of a new job: check it, see what it would cost, start it. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiProblem } from "../../api/problem";
import type { Estimate, Faults, JobSpec } from "../../api/schema";
import { Button } from "../../design/controls";
import { Note, ProblemNote } from "../../design/feedback";
import { bytes } from "../../design/figures";
import { useTranslation } from "../../i18n";
import { useSending, useSession } from "../../state/hooks";
import { PodList } from "./PodList";
import { openJob } from "./ui-state";
import { isoDuration } from "./words";

export type Spec = Partial<JobSpec> & Pick<JobSpec, "engine" | "process">;

interface SubmitBarProps {
  /** What would be submitted; null: it is not filled in. */
  spec: () => Promise<Spec | null>;
  /** Changes when what is filled in does: what was found before is not true any more. */
  about: string;
  /** Whether a place to run it is known. */
  ready: boolean;
  onProblem?: (problem: ApiProblem | null) => void;
}

interface Found {
  faults: Faults;
  estimate: Estimate;
}

export function SubmitBar({ spec, about, ready, onProblem }: SubmitBarProps) {
  const trans = useTranslation();
  const session = useSession();
  const { sending, problem, send, forget } = useSending();
  const [kind, setKind] = useState<"check" | "start">("check");
  const [found, setFound] = useState<Found | null>(null);
  const key = useRef({ about: "", key: "" });
  useEffect(() => {
    setFound(null);
    forget();
  }, [about]);
  const during = async (what: "check" | "start", work: (made: Spec) => Promise<void>) => {
    setKind(what);
    onProblem?.(null);
    const why = await send(async () => {
      const made = await spec();
      if (made) await work(made);
    });
    if (why) onProblem?.(why);
  };
  const check = () =>
    during("check", async (made) => {
      setFound(null);
      const body = made as JobSpec;
      const faults = await session.api.post("/jobs/validate", { body });
      const estimate = faults.faults.length ? { known: false } : await session.api.post("/jobs/estimate", { body });
      setFound({ faults, estimate: estimate as Estimate });
    });
  const start = () =>
    during("start", async (made) => {
      // The same key however often the button is pressed: the server makes one job.
      if (key.current.about !== about) key.current = { about, key: crypto.randomUUID() };
      const job = await session.api.post("/jobs", { body: made, headers: { "Idempotency-Key": key.current.key } });
      key.current = { about: "", key: "" };
      await session.jobs.refresh();
      session.say(trans.__("The job was submitted."), "success");
      openJob(session, job.id);
    });
  return (
    <div class="cs-new-foot">
      {problem && <ProblemNote problem={problem} />}
      {found && <FoundNote found={found} />}
      <div class="cs-actions">
        <Button icon="check" disabled={sending || !ready} onClick={() => void check()}>
          {sending && kind === "check" ? trans.__("Checking…") : trans.__("Check and estimate")}
        </Button>
        <Button icon="play" kind="primary" disabled={sending || !ready} onClick={() => void start()}>
          {sending && kind === "start" ? trans.__("Starting…") : trans.__("Start the job")}
        </Button>
      </div>
    </div>
  );
}

function FoundNote({ found: { faults, estimate } }: { found: Found }) {
  const trans = useTranslation();
  if (faults.faults.length) {
    return (
      <Note tone="error" title={trans._n("The back end finds %1 thing wrong", "The back end finds %1 things wrong", faults.faults.length)}>
        <ul>
          {faults.faults.slice(0, 20).map(({ code, message }) => (
            <li key={code + message}>
              {message} <span class="cs-hint">{code}</span>
            </li>
          ))}
        </ul>
      </Note>
    );
  }
  const said = [
    estimate.duration ? trans.__("takes about %1", isoDuration(estimate.duration, trans)) : "",
    typeof estimate.costs === "number" ? trans.__("costs %1 credits", estimate.costs) : "",
    typeof estimate.size === "number" ? trans.__("makes %1", bytes(estimate.size)) : "",
  ].filter(Boolean);
  return (
    <Note tone="success" title={faults.asked ? trans.__("The back end finds nothing wrong.") : trans.__("Nothing is wrong with it, as far as can be told from here.")}>
      {said.length ? `${trans.__("Estimate:")} ${said.join(", ")}.` : (estimate.pods?.length ?? 0) > 0 ? "" : trans.__("There is no estimate of time and costs for this place.")}
      <PodList pods={estimate.pods ?? []} />
    </Note>
  );
}
