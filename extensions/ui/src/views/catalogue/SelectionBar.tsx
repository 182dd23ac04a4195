/** What is selected, and what to do with it. */

import { useState } from "preact/hooks";
import { Button, IconButton } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { StageDialog } from "../../items/StageDialog";
import { useSession, useStore } from "../../state/hooks";
import { useHasView } from "../view";
import { takeIntoJob } from "./actions";
import { CodeMenu } from "./CodeMenu";
import { previewsOf } from "./previews";

export function SelectionBar() {
  const trans = useTranslation();
  const session = useSession();
  const refs = useStore(session.selection);
  const [staging, setStaging] = useState(false);
  const [first, second] = refs;
  const jobs = useHasView("jobs");
  if (!refs.length && !staging) return null;
  const compare = () => {
    const previews = previewsOf(session);
    previews.clear();
    if (first) previews.show(first);
    if (second) previews.show(second);
    previews.swipe.set(0.5);
  };
  return (
    <section class="cs-selection" aria-label={trans.__("Selected items")}>
      <strong role="status">{trans._n("%1 selected", "%1 selected", refs.length)}</strong>
      <IconButton icon="clear" label={trans.__("Select none")} onClick={() => session.selection.set([])} />
      <span class="cs-spacer" />
      {refs.length === 2 && (
        <Button icon="swipe" onClick={compare}>
          {trans.__("Compare")}
        </Button>
      )}
      <CodeMenu refs={refs} />
      {jobs && (
        <Button icon="jobs" onClick={() => takeIntoJob(session, refs)}>
          {trans.__("Use in a job")}
        </Button>
      )}
      <Button icon="stage" kind="primary" onClick={() => setStaging(true)}>
        {trans.__("Stage…")}
      </Button>
      {staging && <StageDialog refs={refs} onClose={() => setStaging(false)} />}
    </section>
  );
}
