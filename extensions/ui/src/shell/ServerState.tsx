/** Whether search and jobs can be used; asked again until they can. Nothing is shown when all is well. */

import { useEffect } from "preact/hooks";
import { Note, ProblemNote, Waiting } from "../design/feedback";
import { useTranslation } from "../i18n";
import { useAsked, useSession } from "../state/hooks";

const AGAIN_AFTER = 3_000;

export function ServerState() {
  const trans = useTranslation();
  const { api } = useSession();
  const { value, problem, retry } = useAsked([api], (signal) => api.get("/status", { signal }));
  const starting = value !== undefined && !value.ready;
  const away = problem?.retryable ?? false;
  useEffect(() => {
    if (!starting && !away) return;
    const timer = setTimeout(retry, AGAIN_AFTER);
    return () => clearTimeout(timer);
  }, [value, problem]);
  if (problem) {
    return (
      <div class="cs-pad">
        <ProblemNote problem={problem} retry={retry} />
      </div>
    );
  }
  if (!starting) return null;
  if (value.detail.startsWith("search and jobs are being started")) {
    return <Waiting>{trans.__("Search and jobs are being started.")}</Waiting>;
  }
  return (
    <div class="cs-pad">
      <Note tone="warning" title={trans.__("Search and jobs cannot be used now.")}>
        {value.detail}
      </Note>
    </div>
  );
}
