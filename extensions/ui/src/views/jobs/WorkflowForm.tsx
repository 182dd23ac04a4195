/** A workflow as a job: cards to choose from, then a form made from its parameters. */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { ApiProblem } from "../../api/problem";
import type { WorkflowEntry } from "../../api/schema";
import { Button, SelectField, TextField } from "../../design/controls";
import { Note, ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { isTexts } from "../../state/session";
import { PlaceChoice, type Place } from "./PlaceChoice";
import { fieldsOf, initialValues, knownCollections, sentValues, wrongValue, type Values } from "./schema-form";
import { SchemaForm } from "./SchemaForm";
import { SizeChoice } from "./SizeChoice";
import { SubmitBar, type Spec } from "./SubmitBar";
import { engineName } from "./words";

interface Draft {
  workflow: string;
  title: string;
  refs: string[];
  values: Record<string, Values>;
}

const EMPTY: Draft = { workflow: "", title: "", refs: [], values: {} };

function isDraft(value: unknown): value is Draft {
  const { workflow, title, refs, values } = (value ?? {}) as Record<string, unknown>;
  return typeof workflow === "string" && typeof title === "string" && isTexts(refs) && typeof values === "object" && values !== null;
}

export function WorkflowForm() {
  const trans = useTranslation();
  const session = useSession();
  const { api, memory } = session;
  const store = useMemo(() => memory.store("jobs:workflow", EMPTY, isDraft), [memory]);
  const draft = useStore(store);
  const inputs = useStore(session.jobInputs);
  const asked = useAsked([api], (signal) => api.get("/workflows", { signal }));
  useEffect(() => {
    if (!inputs) return;
    store.set((before) => ({ ...before, refs: inputs.refs, values: {} }));
    session.jobInputs.set(null);
  }, [inputs]);
  const workflows = asked.value?.workflows ?? [];
  const chosen = workflows.find(({ name }) => name === draft.workflow);
  const taken = draft.refs.length > 0 && (
    <Note
      actions={
        <Button icon="clear" onClick={() => store.set((before) => ({ ...before, refs: [] }))}>
          {trans.__("Take no items")}
        </Button>
      }
    >
      {trans._n("%1 item from the Catalogue is taken, where the workflow computes on items.", "%1 items from the Catalogue are taken, where the workflow computes on items.", draft.refs.length)}
    </Note>
  );
  if (chosen) {
    return (
      <Chosen key={chosen.name} workflow={chosen} draft={draft} onDraft={(changes) => store.set((before) => ({ ...before, ...changes }))}>
        {taken}
      </Chosen>
    );
  }
  return (
    <div class="cs-job-body">
      {asked.problem && <ProblemNote problem={asked.problem} retry={asked.retry} />}
      {asked.waiting && !asked.value && <Waiting>{trans.__("Reading the workflows…")}</Waiting>}
      {taken}
      <div class="cs-cards">
        {workflows.map((workflow) => (
          <WorkflowCard key={workflow.name} workflow={workflow} onChoose={() => store.set((before) => ({ ...before, workflow: workflow.name, title: workflow.title }))} />
        ))}
      </div>
    </div>
  );
}

function WorkflowCard({ workflow, onChoose }: { workflow: WorkflowEntry; onChoose: () => void }) {
  const trans = useTranslation();
  const { api } = useSession();
  const { name, title, answers, needs, makes, engines } = workflow;
  const picture = useAsked([name], async (signal) => URL.createObjectURL(await (await api.raw(`workflows/${encodeURIComponent(name)}/picture`, { accept: "image/svg+xml", signal })).blob()));
  useEffect(() => {
    const url = picture.value;
    return () => {
      if (url) URL.revokeObjectURL(url);
    };
  }, [picture.value]);
  return (
    <button type="button" class="cs-card" disabled={!engines.length} onClick={onChoose}>
      {picture.value ? <img class="cs-card-picture" src={picture.value} alt="" /> : <span class="cs-card-picture" />}
      <strong>{title}</strong>
      <span>{answers}</span>
      <span class="cs-hint">{trans.__("It needs")}</span>
      <ul class="cs-hint">
        {needs.map((need) => (
          <li key={need}>{need}</li>
        ))}
      </ul>
      <span class="cs-hint">{trans.__("It makes")}</span>
      <span class="cs-hint cs-card-makes">{makes}</span>
      {!engines.length && <span class="cs-wrong">{trans.__("Nothing here can run it.")}</span>}
    </button>
  );
}

interface ChosenProps {
  workflow: WorkflowEntry;
  draft: Draft;
  onDraft: (changes: Partial<Draft>) => void;
  /** Above the form. */
  children: ComponentChildren;
}

function Chosen({ workflow, draft, onDraft, children }: ChosenProps) {
  const trans = useTranslation();
  const session = useSession();
  const { api } = session;
  const { name, answers, makes } = workflow;
  const fields = useMemo(() => fieldsOf(workflow.parameters), [workflow.parameters]);
  const [place, setPlace] = useState<Place | null>(null);
  const [options, setOptions] = useState<Record<string, unknown>>({});
  const [vo, setVo] = useState("");
  const [strict, setStrict] = useState(false);
  const [said, setSaid] = useState<Record<string, string>>({});
  const site = useAsked([api], (signal) => api.get("/site", { signal }));
  const collections = useAsked([api], (signal) => api.get("/catalog/collections", { signal }));
  const known = useMemo(() => knownCollections(collections.value?.collections ?? []), [collections.value]);
  const vos = [...new Set((site.value?.grants ?? []).map((grant) => grant.vo))];
  // Before anything is filled in: what the schema, the map and the dates say.
  const values = draft.values[name] ?? initialValues(fields, session.area.get(), session.datetime.get());
  const set = (field: string, value: unknown) => {
    setSaid(({ [field]: _, ...others }) => others);
    onDraft({ values: { ...draft.values, [name]: { ...values, [field]: value } } });
  };
  const onItems = !!place && workflow.items.includes(place.engine);
  const engines = workflow.engines.filter((engine) => !workflow.items.includes(engine) || draft.refs.length > 0);
  const without = workflow.engines.filter((engine) => !engines.includes(engine));
  const spec = async (): Promise<Spec | null> => {
    setStrict(true);
    setSaid({});
    if (!place) return null;
    if (fields.some((field) => wrongValue(field, values[field.name]))) {
      session.say(trans.__("Some fields are not right yet: they are marked."), "error");
      return null;
    }
    const body = {
      engine: place.engine,
      backend: place.id,
      title: draft.title,
      vo,
      parameters: sentValues(fields, values),
      refs: onItems ? draft.refs : null,
      options: place.engine === "spark" ? options : {},
      area: session.area.get() as Record<string, unknown> | null,
    };
    return api.post("/workflows/{workflow}/spec", { path: { workflow: name }, body });
  };
  const told = (problem: ApiProblem | null) => {
    const wrong = problem?.details["fields"];
    if (Array.isArray(wrong)) {
      setSaid(Object.fromEntries(wrong.map(({ field, message }) => [String(field).split(".")[0] ?? "", String(message)])));
    }
  };
  return (
    <>
      <div class="cs-job-body">
        <div class="cs-actions">
          <Button icon="left" onClick={() => onDraft({ workflow: "" })}>
            {trans.__("Other workflows")}
          </Button>
          <h3>{workflow.title}</h3>
        </div>
        <p>
          {answers} <span class="cs-hint">{makes}</span>
        </p>
        {children}
        <PlaceChoice engines={engines} chosen={place} onChoose={setPlace} />
        {without.length > 0 && engines.length > 0 && (
          <p class="cs-hint">{trans.__("It also runs on %1, on items: select them in the Catalogue and choose Use in a job.", without.map((engine) => engineName(engine, trans)).join(", "))}</p>
        )}
        {!engines.length && <Note tone="warning" title={trans.__("It computes on items: select them in the Catalogue, and choose Use in a job.")} />}
        <SchemaForm fields={fields} values={values} collections={known} said={said} strict={strict} onValue={set} />
        {place?.engine === "spark" && <SizeChoice local={place.id === "local"} options={options} onOptions={setOptions} />}
        <TextField label={trans.__("Name of the job")} value={draft.title} onValue={(title) => onDraft({ title: title.slice(0, 200) })} />
        {vos.length > 1 && <SelectField label={trans.__("Results go to")} value={vo || (vos[0] ?? "")} options={vos.map((each) => [each, each] as const)} onValue={setVo} />}
      </div>
      <SubmitBar spec={spec} ready={place !== null && engines.includes(place.engine)} about={JSON.stringify([name, values, place, options, vo, draft.title, draft.refs])} onProblem={told} />
    </>
  );
}
