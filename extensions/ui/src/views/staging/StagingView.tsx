import { useEffect, useState } from "preact/hooks";
import { Button } from "../../design/controls";
import { Empty, ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { StageDialog } from "../../items/StageDialog";
import { useSession, useStore } from "../../state/hooks";
import type { ViewProps } from "../view";
import { StagingCard } from "./StagingCard";
import { stagings } from "./stagings";

const PAGE = 30;

export function StagingView(_: ViewProps) {
  const trans = useTranslation();
  const session = useSession();
  const { jobs, known, problem } = useStore(session.jobs.state);
  const selection = useStore(session.selection);
  const [starting, setStarting] = useState<readonly string[] | null>(null);
  const [most, setMost] = useState(PAGE);
  useEffect(() => session.jobs.watch(), [session]);
  const list = stagings(jobs);
  const begin = selection.length ? (
    <Button kind="primary" icon="stage" onClick={() => setStarting(selection)}>
      {trans._n("Stage the selected item…", "Stage the %1 selected items…", selection.length)}
    </Button>
  ) : (
    <Button icon="search" onClick={() => session.goTo("catalogue")}>
      {trans.__("Select items in the catalogue")}
    </Button>
  );
  return (
    <div class="cs-staging">
      <header class="cs-staging-head">
        <h2>{trans.__("Brought into your buckets")}</h2>
        <span class="cs-spacer" />
        {list.length > 0 && begin}
      </header>
      {problem && <ProblemNote problem={problem} retry={() => void session.jobs.refresh()} />}
      {!known && !problem && <Waiting>{trans.__("Loading what is staged…")}</Waiting>}
      {known && !list.length && (
        <Empty icon="stage" title={trans.__("Nothing was staged yet")} actions={begin}>
          {trans.__("Staging copies products from the archives into the bucket of your virtual organisation, where notebooks and jobs read them quickly, and writes them to its catalogue.")}
        </Empty>
      )}
      <ul class="cs-plain-list cs-stagings">
        {list.slice(0, most).map((job) => (
          <StagingCard key={job.id} job={job} />
        ))}
      </ul>
      {list.length > most && <Button onClick={() => setMost(most + PAGE)}>{trans.__("Show more")}</Button>}
      {starting && <StageDialog refs={starting} onClose={() => setStarting(null)} />}
    </div>
  );
}
