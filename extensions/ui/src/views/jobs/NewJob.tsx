/** A new job: a workflow, a process graph of one's own, or a Spark application. */

import { IconButton } from "../../design/controls";
import { usePageId } from "../../design/page-id";
import { Tabs } from "../../design/tabs";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { GraphForm } from "./GraphForm";
import { SparkForm } from "./SparkForm";
import { jobsUi } from "./ui-state";
import { WorkflowForm } from "./WorkflowForm";

const KINDS = ["workflow", "graph", "spark"] as const;

export function NewJob() {
  const trans = useTranslation();
  const ui = jobsUi(useSession());
  const prefix = usePageId();
  const chosen = useStore(ui.kind);
  const kind = KINDS.find((name) => name === chosen) ?? "workflow";
  return (
    <section class="cs-new-job" aria-label={trans.__("New job")}>
      <header class="cs-job-head">
        <div class="cs-job-title">
          <h2>{trans.__("New job")}</h2>
        </div>
        <IconButton icon="close" label={trans.__("Close the new job; what is filled in is kept")} onClick={() => ui.making.set(false)} />
      </header>
      <Tabs
        label={trans.__("Kinds of jobs")}
        kind="small"
        prefix={prefix}
        chosen={kind}
        onChoose={(name) => ui.kind.set(name)}
        tabs={[
          { id: "workflow", label: trans.__("Workflow") },
          { id: "graph", label: trans.__("Process graph") },
          { id: "spark", label: trans.__("Spark application") },
        ]}
      />
      {KINDS.map((name) => (
        <div key={name} role="tabpanel" id={`${prefix}-panel-${name}`} aria-labelledby={`${prefix}-tab-${name}`} hidden={name !== kind} class="cs-job-part">
          {name === kind && (name === "workflow" ? <WorkflowForm /> : name === "graph" ? <GraphForm /> : <SparkForm />)}
        </div>
      ))}
    </section>
  );
}
