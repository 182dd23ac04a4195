/** A job again, with changes. */

import { useRef, useState } from "preact/hooks";
import type { CloneChanges, Job, JobSummary } from "../../api/schema";
import { Button, SelectField, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Note, ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSending, useSession } from "../../state/hooks";
import { pretty, readObject } from "./json";
import { openJob } from "./ui-state";
import { titleOf } from "./words";

const LONGEST = 200_000; // characters of a process that can be edited here

export function CloneDialog({ job, onClose }: { job: JobSummary; onClose: () => void }) {
  const trans = useTranslation();
  const { api } = useSession();
  const whole = useAsked([job.id], (signal) => api.get("/jobs/{job_id}", { path: { job_id: job.id }, signal }));
  if (whole.value) return <Form job={whole.value} onClose={onClose} />;
  return (
    <Dialog title={trans.__("Clone and change")} onClose={onClose}>
      {whole.problem ? <ProblemNote problem={whole.problem} retry={whole.retry} /> : <Waiting>{trans.__("Reading the job…")}</Waiting>}
    </Dialog>
  );
}

function Form({ job, onClose }: { job: Job; onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const { spec } = job;
  const asked = spec.options ?? {};
  const suggested = job.error?.details?.["job_options"];
  const before = { process: pretty(spec.process), options: pretty({ ...asked, ...(typeof suggested === "object" ? suggested : {}) }) };
  const [title, setTitle] = useState(spec.title);
  const [backend, setBackend] = useState(spec.backend);
  const [process, setProcess] = useState(before.process);
  const [options, setOptions] = useState(before.options);
  const { sending, problem, send } = useSending();
  const key = useRef({ body: "", key: "" });
  const places = useAsked([session], (signal) => session.api.get("/jobs/backends", { signal }));
  const here = (places.value?.backends ?? []).filter(({ engine }) => engine === spec.engine);
  const readProcess = readObject(process);
  const readOptions = readObject(options);
  const editable = before.process.length <= LONGEST;

  const start = async () => {
    if (!readProcess.value || !readOptions.value) return;
    const changes: Partial<CloneChanges> = {};
    if (title !== spec.title) changes.title = title;
    if (backend !== spec.backend) changes.backend = backend;
    if (process !== before.process) changes.process = readProcess.value;
    // What was taken away is said as null.
    const gone = Object.fromEntries(Object.keys(asked).filter((name) => !(name in (readOptions.value ?? {}))).map((name) => [name, null]));
    const now = { ...gone, ...readOptions.value };
    if (pretty(now) !== pretty(asked)) changes.options = now;
    const body = { suggested: false, changes };
    const text = JSON.stringify(body);
    if (key.current.body !== text) key.current = { body: text, key: crypto.randomUUID() };
    await send(async () => {
      const made = await session.api.post("/jobs/{job_id}/clone", { path: { job_id: job.id }, body: body as never, headers: { "Idempotency-Key": key.current.key } });
      await session.jobs.refresh();
      session.say(trans.__("The new job was submitted."), "success");
      openJob(session, made.id);
      onClose();
    });
  };
  return (
    <Dialog
      title={trans.__("Clone and change")}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Close")}</Button>
          <Button kind="primary" icon="play" disabled={sending || !readProcess.value || !readOptions.value} onClick={() => void start()}>
            {trans.__("Start the new job")}
          </Button>
        </>
      }
    >
      <p class="cs-hint">{trans.__("A new job like %1. That one stays as it is.", titleOf(job, trans))}</p>
      <TextField label={trans.__("Name")} value={title} onValue={(value) => setTitle(value.slice(0, 200))} />
      {here.length > 1 && (
        <SelectField
          label={trans.__("Where it runs")}
          value={backend}
          onValue={setBackend}
          options={[
            ...(here.some(({ id }) => id === backend) ? [] : [[backend, backend || trans.__("The first")] as const]),
            ...here.map((place) => [place.id, place.online ? place.title : trans.__("%1 (does not answer)", place.title)] as const),
          ]}
        />
      )}
      <TextField
        label={trans.__("Options (memory, time and the like, as JSON)")}
        lines={Math.min(10, options.split("\n").length + 1)}
        value={options}
        onValue={setOptions}
        problem={readOptions.problem}
      />
      {editable ? (
        <TextField label={trans.__("What it computes, as JSON")} lines={12} value={process} onValue={setProcess} problem={readProcess.problem} />
      ) : (
        <Note>{trans.__("What it computes is too long to be edited here; it stays as it is.")}</Note>
      )}
      {problem && <ProblemNote problem={problem} retry={() => void start()} />}
    </Dialog>
  );
}
