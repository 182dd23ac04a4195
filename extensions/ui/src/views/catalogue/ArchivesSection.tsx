/** Where it is asked: the archives, and whether each answers now. */

import { Button, Checkbox } from "../../design/controls";
import { Badge, ProblemNote } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import { Section } from "./SearchForm";

interface ArchivesSectionProps {
  /** Empty: all. */
  chosen: readonly string[];
  onChosen: (providers: string[]) => void;
}

export function ArchivesSection({ chosen, onChosen }: ArchivesSectionProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const { value, problem, retry } = useAsked([api], (signal) => api.get("/catalog/providers", { signal }));
  const all = value?.providers ?? [];
  const toggle = (id: string, on: boolean) => {
    const now = chosen.length ? chosen : all.map((provider) => provider.id);
    const next = on ? [...now, id] : now.filter((other) => other !== id);
    onChosen(next.length === all.length ? [] : next);
  };
  return (
    <Section
      icon="storage"
      title={trans.__("Archives")}
      summary={chosen.length ? undefined : trans.__("all")}
      actions={
        chosen.length > 0 && (
          <Button kind="quiet" onClick={() => onChosen([])}>
            {trans.__("All")}
          </Button>
        )
      }
    >
      {problem && <ProblemNote problem={problem} retry={retry} />}
      <div class="cs-archives">
        {all.map(({ id, title, online, error, latency }) => (
          <div key={id} class="cs-archive">
            <Checkbox checked={!chosen.length || chosen.includes(id)} disabled={chosen.length === 1 && chosen[0] === id} onChecked={(on) => toggle(id, on)} label={title} />
            {online === false ? (
              <span title={error}>
                <Badge tone="error">{trans.__("does not answer")}</Badge>
              </span>
            ) : online ? (
              <span class="cs-soft cs-hint">{latency === null || latency === undefined ? trans.__("answers") : trans.__("%1 ms", Math.round(latency * 1000))}</span>
            ) : (
              <span class="cs-soft cs-hint">{trans.__("not asked yet")}</span>
            )}
          </div>
        ))}
      </div>
    </Section>
  );
}
