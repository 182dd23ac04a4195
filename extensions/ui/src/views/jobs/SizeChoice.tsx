/** How large a Spark application is: by name or in figures, with what it really asks for. */

import { TextField } from "../../design/controls";
import { Badge, Note, ProblemNote } from "../../design/feedback";
import { usePageId } from "../../design/page-id";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import { PodList } from "./PodList";

type Options = Record<string, unknown>;

interface SizeChoiceProps {
  /** Whether it runs within this server, which has the size that it has. */
  local: boolean;
  options: Options;
  onOptions: (options: Options) => void;
}

export function SizeChoice({ local, options, onOptions }: SizeChoiceProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const group = usePageId();
  const asked = useAsked([api, local], local ? null : (signal) => api.get("/jobs/sizes", { signal }));
  if (local) return <Note>{trans.__("Spark runs within your server, with the memory that the site gives it. There is no size to choose.")}</Note>;
  const sizes = asked.value?.sizes ?? [];
  const text = (name: string) => (options[name] === undefined ? "" : String(options[name]));
  const set = (name: string, value: string, numeric: boolean) => {
    const { [name]: _, ...others } = options;
    onOptions(value === "" ? others : { ...others, [name]: numeric ? Number(value) : value });
  };
  const same = (one: Options) => JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(options).sort());
  return (
    <>
      {asked.problem && <ProblemNote problem={asked.problem} retry={asked.retry} />}
      {sizes.length > 0 && (
        <fieldset class="cs-choices">
          <legend class="cs-label">{trans.__("Size")}</legend>
          {sizes.map((size) => (
            <label class="cs-choice" key={size.name}>
              <input type="radio" name={group} checked={same(size.options)} onChange={() => onOptions(size.options)} />
              <span>
                <strong>
                  {size.name} {size.fits === true && <Badge tone="success">{trans.__("fits")}</Badge>}
                  {size.fits === false && <Badge tone="error">{trans.__("does not fit")}</Badge>}
                </strong>
                <span>{size.title}</span>
                <PodList pods={size.pods} />
                {size.problem && <span class="cs-hint cs-wrong">{size.problem}</span>}
              </span>
            </label>
          ))}
        </fieldset>
      )}
      <details>
        <summary>{trans.__("In figures")}</summary>
        <div class="cs-bbox">
          <TextField label={trans.__("Driver memory")} placeholder="2g" value={text("driver_memory")} onValue={(value) => set("driver_memory", value, false)} />
          <TextField label={trans.__("Executor memory")} placeholder="4g" value={text("executor_memory")} onValue={(value) => set("executor_memory", value, false)} />
          <TextField label={trans.__("Executor processors")} type="number" min={1} value={text("executor_cores")} onValue={(value) => set("executor_cores", value, true)} />
          <TextField label={trans.__("Executors at most")} type="number" min={1} value={text("max_executors")} onValue={(value) => set("max_executors", value, true)} />
          <TextField label={trans.__("Time limit")} placeholder="1:30:00" value={text("time_limit")} onValue={(value) => set("time_limit", value, false)} />
        </div>
        <p class="cs-hint">{trans.__("A check tells what that really asks a node for, with what Spark adds, and whether it fits.")}</p>
      </details>
    </>
  );
}
