/** What is searched: where, what, when, how clear, and where it is asked. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Button, SelectField } from "../../design/controls";
import { Icon, type IconName } from "../../design/icons";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { runSearch } from "./actions";
import { ArchivesSection } from "./ArchivesSection";
import { AreaSection } from "./AreaSection";
import { CollectionSection } from "./CollectionSection";
import { ConditionsSection } from "./ConditionsSection";
import { DatesSection } from "./DatesSection";
import { EMPTY_FORM, formStore, wrongCondition, type Form } from "./form";
import { daysOf, wrongDays } from "./interval";
import { SaveDialog } from "./SaveDialog";

export function SearchForm() {
  const trans = useTranslation();
  const session = useSession();
  const store = formStore(session);
  const form = useStore(store);
  const area = useStore(session.area);
  const datetime = useStore(session.datetime);
  const [saving, setSaving] = useState(false);
  const change = (changes: Partial<Form>) => store.set({ ...form, ...changes });
  const wrong = wrongDays(daysOf(datetime)) !== "" || form.conditions.some((condition) => wrongCondition(condition) !== "");
  const empty = form === EMPTY_FORM && !area && !datetime;
  return (
    <form
      class="cs-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (!wrong) runSearch(session);
      }}
    >
      <div class="cs-form-scroll">
        <AreaSection />
        <CollectionSection chosen={form.collections} onChosen={(collections) => change({ collections })} />
        <DatesSection />
        <Section icon="cloud" title={trans.__("Cloud cover")}>
          <div class="cs-slider">
            <input
              type="range"
              min={0}
              max={100}
              step={5}
              value={form.maxCloudCover}
              aria-label={trans.__("Largest cloud cover in percent")}
              aria-valuetext={form.maxCloudCover === 100 ? trans.__("any") : trans.__("at most %1 %", form.maxCloudCover)}
              onInput={(event) => change({ maxCloudCover: Number(event.currentTarget.value) })}
            />
            <output>{form.maxCloudCover === 100 ? trans.__("any") : trans.__("≤ %1 %", form.maxCloudCover)}</output>
          </div>
          {form.maxCloudCover < 100 && (
            <p class="cs-hint">{trans.__("Leaves out what states no cloud cover, such as radar.")}</p>
          )}
        </Section>
        <ConditionsSection collections={form.collections} conditions={form.conditions} onConditions={(conditions) => change({ conditions })} />
        <ArchivesSection chosen={form.providers} onChosen={(providers) => change({ providers })} />
        <Section icon="down" title={trans.__("Order")}>
          <SelectField
            quiet
            label={trans.__("Order of the results")}
            value={form.sort}
            onValue={(sort) => change({ sort: sort as Form["sort"] })}
            options={[
              ["newest", trans.__("Newest first")],
              ["oldest", trans.__("Oldest first")],
              ["clearest", trans.__("Least cloudy first")],
            ]}
          />
        </Section>
      </div>
      <div class="cs-actions cs-form-foot">
        <Button type="submit" kind="primary" icon="search" disabled={wrong}>
          {trans.__("Search")}
        </Button>
        <Button icon="save" onClick={() => setSaving(true)}>
          {trans.__("Save")}
        </Button>
        <span class="cs-spacer" />
        <Button
          kind="quiet"
          disabled={empty}
          onClick={() => {
            store.set(EMPTY_FORM);
            session.area.set(null);
            session.datetime.set("");
          }}
        >
          {trans.__("Clear")}
        </Button>
      </div>
      {saving && <SaveDialog onClose={() => setSaving(false)} />}
    </form>
  );
}

interface SectionProps {
  icon: IconName;
  title: string;
  /** What is chosen, in a word. */
  summary?: ComponentChildren;
  actions?: ComponentChildren;
  children: ComponentChildren;
}

export function Section({ icon, title, summary, actions, children }: SectionProps) {
  return (
    <section class="cs-section" aria-label={title}>
      <header class="cs-section-head">
        <Icon name={icon} />
        <h3>{title}</h3>
        {summary && <span class="cs-soft cs-section-summary">{summary}</span>}
        <span class="cs-spacer" />
        {actions}
      </header>
      {children}
    </section>
  );
}
