/** A Spark application of one's own as a job. */

import { useMemo, useState } from "preact/hooks";
import { TextField } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { PlaceChoice, type Place } from "./PlaceChoice";
import { SizeChoice } from "./SizeChoice";
import { SubmitBar, type Spec } from "./SubmitBar";

interface Draft {
  title: string;
  main: string;
  args: string;
  packages: string;
  python: string;
  options: Record<string, unknown>;
}

const EMPTY: Draft = { title: "", main: "", args: "", packages: "", python: "", options: {} };

function isDraft(value: unknown): value is Draft {
  const draft = (value ?? {}) as Record<string, unknown>;
  return ["title", "main", "args", "packages", "python"].every((name) => typeof draft[name] === "string") && typeof draft.options === "object" && draft.options !== null;
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);
}

export function SparkForm() {
  const trans = useTranslation();
  const session = useSession();
  const store = useMemo(() => session.memory.store("jobs:spark", EMPTY, isDraft), [session]);
  const draft = useStore(store);
  const [place, setPlace] = useState<Place | null>(null);
  const [strict, setStrict] = useState(false);
  const change = (changes: Partial<Draft>) => store.set((before) => ({ ...before, ...changes }));
  const wrong = !draft.main.trim() ? trans.__("This is needed.") : !draft.main.trim().endsWith(".py") ? trans.__("It ends with .py.") : "";
  const spec = async (): Promise<Spec | null> => {
    setStrict(true);
    if (!place || wrong) return null;
    const process = { main: draft.main.trim(), arguments: lines(draft.args), packages: lines(draft.packages), python: lines(draft.python) };
    const title = draft.title || (draft.main.trim().split("/").at(-1) ?? "");
    return { engine: "spark", backend: place.id, title, process, options: place.id === "local" ? {} : draft.options };
  };
  return (
    <>
      <div class="cs-job-body">
        <PlaceChoice engines={["spark"]} chosen={place} onChoose={setPlace} />
        <TextField
          label={trans.__("Script")}
          hint={trans.__("A PySpark program: a path on a mount, or s3://BUCKET/….py")}
          value={draft.main}
          onValue={(main) => change({ main })}
          problem={strict || (draft.main && wrong !== trans.__("This is needed.")) ? wrong : ""}
        />
        <TextField
          label={trans.__("Arguments, one a line (optional)")}
          hint={trans.__("{output} is where results go, {inputs} a JSON file of the inputs.")}
          lines={3}
          value={draft.args}
          onValue={(args) => change({ args })}
        />
        <TextField
          label={trans.__("Packages of Maven, one a line (optional)")}
          placeholder="org.apache.sedona:sedona-spark-shaded-3.5_2.12:1.7.0"
          lines={2}
          value={draft.packages}
          onValue={(packages) => change({ packages })}
        />
        <TextField label={trans.__("Python packages, one a line (optional)")} placeholder="xarray>=2024" lines={2} value={draft.python} onValue={(python) => change({ python })} />
        {place && <SizeChoice local={place.id === "local"} options={draft.options} onOptions={(options) => change({ options })} />}
        <TextField label={trans.__("Name of the job (optional)")} value={draft.title} onValue={(title) => change({ title: title.slice(0, 200) })} />
      </div>
      <SubmitBar spec={spec} ready={place !== null} about={JSON.stringify([draft, place])} />
    </>
  );
}
