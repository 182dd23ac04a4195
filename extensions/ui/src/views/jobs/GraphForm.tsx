/** A process graph as a job: written, pasted, or one that is kept at the back end. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { asProblem } from "../../api/problem";
import { Button, SelectField, TextField } from "../../design/controls";
import { Note } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { isText } from "../../state/session";
import { graphOf, readGraph, type GraphFault } from "./graph";
import { pretty, readObject } from "./json";
import { PlaceChoice, type Place } from "./PlaceChoice";
import { SubmitBar, type Spec } from "./SubmitBar";

const CHECK_AFTER = 250;

export function GraphForm() {
  const trans = useTranslation();
  const session = useSession();
  const { api } = session;
  const store = useMemo(() => session.memory.store("jobs:graph", "", isText), [session]);
  const text = useStore(store);
  const [title, setTitle] = useState("");
  const [place, setPlace] = useState<Place | null>(null);
  const [looked, setLooked] = useState(text);
  const processes = useAsked([place?.id], place ? (signal) => api.get("/jobs/backends/{backend}/processes", { path: { backend: place.id }, signal }) : null);
  const own = (processes.value?.processes ?? []).filter((each) => each.own);
  const known = useMemo(() => (processes.value?.processes.length ? new Set(processes.value.processes.map(({ id }) => id)) : null), [processes.value]);
  useEffect(() => {
    const timer = setTimeout(() => setLooked(text), CHECK_AFTER);
    return () => clearTimeout(timer);
  }, [text]);
  const read = useMemo(() => readObject(looked), [looked]);
  const graph = useMemo(() => (read.value ? readGraph(read.value, known) : null), [read, known]);

  const take = (written: string) => {
    const found = readObject(written);
    store.set(found.value ? pretty(graphOf(found.value)) : written);
    if (!found.value) session.say(trans.__("What was pasted is not a process graph in JSON. %1", found.problem), "error");
  };
  const paste = () =>
    void navigator.clipboard.readText().then(take, () => session.say(trans.__("The browser does not let the clipboard be read: paste into the field."), "error"));
  const upload = () => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = ".json";
    input.onchange = () => void input.files?.[0]?.text().then(take);
    input.click();
  };
  const load = async (process: string) => {
    if (!place || !process) return;
    try {
      take(JSON.stringify(await api.get("/jobs/backends/{backend}/processes/{process}", { path: { backend: place.id, process } })));
      setTitle((before) => before || process);
    } catch (thrown) {
      const { message, hint } = asProblem(thrown);
      session.say(`${message} ${hint}`.trim(), "error");
    }
  };
  const spec = async (): Promise<Spec | null> => {
    const now = readObject(text);
    setLooked(text);
    if (!place || !now.value) {
      session.say(text.trim() ? trans.__("The text is not JSON yet.") : trans.__("Write or paste a process graph first."), "error");
      return null;
    }
    return { engine: "openeo", backend: place.id, title: title || trans.__("Process graph"), process: { process_graph: graphOf(now.value) } };
  };
  return (
    <>
      <div class="cs-job-body">
        <PlaceChoice engines={["openeo"]} chosen={place} onChoose={setPlace} onSignedIn={processes.retry} />
        <div class="cs-actions">
          <Button icon="paste" onClick={paste}>
            {trans.__("Paste from the clipboard")}
          </Button>
          <Button icon="upload" onClick={upload}>
            {trans.__("From a file…")}
          </Button>
          <Button icon="edit" disabled={!read.value} onClick={() => read.value && store.set(pretty(graphOf(read.value)))}>
            {trans.__("Put in order")}
          </Button>
          {own.length > 0 && (
            <SelectField
              quiet
              label={trans.__("A process that you keep there")}
              value=""
              options={[["", trans.__("A process that you keep there…")] as const, ...own.map(({ id }) => [id, id] as const)]}
              onValue={(id) => void load(id)}
            />
          )}
        </div>
        {processes.problem && <p class="cs-hint">{trans.__("Its processes are not known: %1", processes.problem.message)}</p>}
        <TextField
          label={trans.__("Process graph, as JSON")}
          lines={16}
          value={text}
          placeholder={'{\n  "load": {"process_id": "load_collection", "arguments": {…}},\n  "save": {"process_id": "save_result", "arguments": {"data": {"from_node": "load"}, "format": "GTiff"}, "result": true}\n}'}
          onValue={(written) => store.set(written)}
          problem={looked.trim() ? read.problem : ""}
        />
        {graph && graph.faults.length > 0 && (
          <Note tone="warning" title={trans.__("This is not right yet")}>
            <ul>
              {graph.faults.slice(0, 20).map((fault) => (
                <li key={JSON.stringify(fault)}>{faultWords(fault, trans)}</li>
              ))}
            </ul>
          </Note>
        )}
        {graph && graph.list.length > 0 && (
          <table class="cs-graph-nodes">
            <caption class="cs-label">{trans._n("%1 step", "%1 steps", graph.list.length)}</caption>
            <thead>
              <tr>
                <th>{trans.__("Step")}</th>
                <th>{trans.__("Process")}</th>
                <th>{trans.__("Takes")}</th>
              </tr>
            </thead>
            <tbody>
              {graph.list.slice(0, 200).map(({ id, process, from, result }) => (
                <tr key={id}>
                  <td class="cs-mono">
                    {id} {result && <span class="cs-hint">{trans.__("(result)")}</span>}
                  </td>
                  <td>{process}</td>
                  <td class="cs-mono">{from.join(", ")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        <TextField label={trans.__("Name of the job (optional)")} value={title} onValue={(value) => setTitle(value.slice(0, 200))} />
      </div>
      <SubmitBar spec={spec} ready={place !== null} about={JSON.stringify([text, title, place])} />
    </>
  );
}

function faultWords(fault: GraphFault, trans: ReturnType<typeof useTranslation>): string {
  switch (fault.kind) {
    case "empty":
      return trans.__("There are no steps.");
    case "no-process":
      return trans.__("%1 names no process (process_id).", fault.node);
    case "unknown-node":
      return trans.__("%1 takes the result of %2, which is not there.", fault.node, fault.other);
    case "no-result":
      return trans.__("No step is marked as the result (\"result\": true).");
    case "two-results":
      return trans.__("More than one step is marked as the result.");
    case "unknown-process":
      return trans.__("%1 uses %2, which this back end does not know.", fault.node, fault.process);
  }
}
