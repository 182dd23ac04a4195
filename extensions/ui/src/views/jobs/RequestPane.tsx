/** What was asked for, and the code that asks for the same. */

import type { Job } from "../../api/schema";
import { Button } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { useSession } from "../../state/hooks";
import { insertCode } from "./actions";
import { pretty } from "./json";

const LONGEST = 50_000;

export function RequestPane({ job }: { job: Job }) {
  const trans = useTranslation();
  const session = useSession();
  const { process, options = {}, period, output, inputs = [] } = job.spec;
  const text = pretty(process);
  return (
    <div class="cs-job-body">
      <div class="cs-actions">
        <Button icon="code" onClick={() => void insertCode(session, trans, job, "submit")}>
          {session.host.insertCode ? trans.__("Code that made this, into the notebook") : trans.__("Copy the code that made this")}
        </Button>
        <Button
          icon="copy"
          onClick={() =>
            void navigator.clipboard.writeText(text).then(
              () => session.say(trans.__("Copied."), "success"),
              () => session.say(trans.__("The browser did not let it be copied."), "error"),
            )
          }
        >
          {trans.__("Copy the process")}
        </Button>
      </div>
      {(period || output || inputs.length > 0) && (
        <dl class="cs-facts">
          {period && (
            <div>
              <dt>{trans.__("Period")}</dt>
              <dd>{period}</dd>
            </div>
          )}
          {output && (
            <div>
              <dt>{trans.__("Writes to")}</dt>
              <dd class="cs-mono">{output}</dd>
            </div>
          )}
          {inputs.length > 0 && (
            <div>
              <dt>{trans.__("Computes on")}</dt>
              <dd>{trans._n("%1 item", "%1 items", inputs.length)}</dd>
            </div>
          )}
        </dl>
      )}
      {Object.keys(options).length > 0 && (
        <>
          <h3>{trans.__("Options")}</h3>
          <pre class="cs-code" tabIndex={0}>
            {pretty(options)}
          </pre>
        </>
      )}
      <h3>{trans.__("Process")}</h3>
      <pre class="cs-code" tabIndex={0}>
        {text.slice(0, LONGEST)}
      </pre>
      {text.length > LONGEST && <p class="cs-hint">{trans.__("The rest is not shown; copying takes all of it.")}</p>}
    </div>
  );
}
