/** What: collections of all archives, by mission, with plain descriptions. */

import { useMemo, useState } from "preact/hooks";
import type { CollectionEntry } from "../../api/schema";
import { Button, Checkbox, TextField } from "../../design/controls";
import { Badge, ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import { collectionsOf, missionsOf, type CollectionChoice } from "./collections";
import { Section } from "./SearchForm";

interface CollectionSectionProps {
  chosen: readonly string[];
  onChosen: (collections: string[]) => void;
}

const SHORT = 220;

export function CollectionSection({ chosen, onChosen }: CollectionSectionProps) {
  const trans = useTranslation();
  const session = useSession();
  const [words, setWords] = useState("");
  const { value, problem, waiting, retry } = useAsked([session], () => collectionsOf(session));
  const again = () => void collectionsOf(session, true).then(retry, retry);
  const missions = useMemo(
    () => missionsOf((value?.collections ?? []) as CollectionEntry[], words, trans.__("Other")),
    [value, words, trans],
  );
  const away = value?.providers.filter(({ status }) => status !== "ok") ?? [];
  const many = (value?.collections.length ?? 0) > 6;
  const toggle = ({ places }: CollectionChoice, on: boolean) => {
    const ids = places.map(({ id }) => id);
    const others = chosen.filter((id) => !ids.includes(id));
    onChosen(on ? [...others, ...ids] : others);
  };
  const gone = chosen.filter((id) => value && !value.collections.some((entry) => entry.id === id));
  return (
    <Section
      icon="layers"
      title={trans.__("Collections")}
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
      {waiting && !value && <Waiting>{trans.__("Asking the archives for their collections…")}</Waiting>}
      {many && (
        <TextField quiet type="search" label={trans.__("Find a collection")} placeholder={trans.__("Find: mission, product, archive")} value={words} onValue={setWords} />
      )}
      {value && (
        <div class={many ? "cs-collections cs-collections-many" : "cs-collections"}>
          {missions.map(({ name, choices }) => (
            <details key={name} open={!many || words !== "" || choices.some((choice) => isChosen(choice, chosen))}>
              <summary>
                {name} <span class="cs-soft">{choices.length}</span>
              </summary>
              {choices.map((choice) => (
                <div class="cs-collection" key={choice.key}>
                  <Checkbox
                    checked={isChosen(choice, chosen)}
                    mixed={isPartly(choice, chosen)}
                    onChecked={(on) => toggle(choice, on)}
                    label={<span class="cs-collection-title">{choice.title}</span>}
                  />
                  <div class="cs-collection-more">
                    {choice.description && <p class="cs-hint">{shortened(choice.description)}</p>}
                    <p class="cs-hint">
                      {choice.from && (choice.to ? trans.__("%1 to %2", choice.from, choice.to) : trans.__("since %1", choice.from))}{" "}
                      {choice.places.map(({ provider, title, stale }) => (
                        <Badge key={provider} tone={stale ? "warning" : "plain"}>
                          {stale ? trans.__("%1 (not now)", title) : title}
                        </Badge>
                      ))}
                    </p>
                  </div>
                </div>
              ))}
            </details>
          ))}
          {!missions.length && (
            <p class="cs-hint">{words ? trans.__("No collection has these words.") : trans.__("No archive lists a collection now. A search without one still asks all.")}</p>
          )}
        </div>
      )}
      {gone.length > 0 && (
        <p class="cs-hint">
          {trans.__("Chosen, but not listed now: %1", gone.join(", "))}{" "}
        </p>
      )}
      {away.length > 0 && (
        <details class="cs-hint">
          <summary>{trans._n("%1 archive did not list its collections", "%1 archives did not list their collections", away.length)}</summary>
          <ul class="cs-plain-list">
            {away.map(({ id, title, error }) => (
              <li key={id}>
                <strong>{title}</strong>: {error}
              </li>
            ))}
          </ul>
          <Button icon="refresh" onClick={again}>
            {trans.__("Ask again")}
          </Button>
        </details>
      )}
    </Section>
  );
}

function isChosen({ places }: CollectionChoice, chosen: readonly string[]): boolean {
  return places.every(({ id }) => chosen.includes(id));
}

function isPartly(choice: CollectionChoice, chosen: readonly string[]): boolean {
  return !isChosen(choice, chosen) && choice.places.some(({ id }) => chosen.includes(id));
}

/** The first sentences of what an archive says of a collection. */
function shortened(text: string): string {
  if (text.length <= SHORT) return text;
  const cut = text.slice(0, SHORT);
  const end = cut.lastIndexOf(". ");
  return end > SHORT / 2 ? cut.slice(0, end + 1) : `${cut.trimEnd()}…`;
}
