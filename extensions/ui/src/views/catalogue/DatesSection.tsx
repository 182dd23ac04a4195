/** When: two days, or a span that is often wanted. */

import { TextField } from "../../design/controls";
import { Menu } from "../../design/menu";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { HistogramChart } from "./HistogramChart";
import { daysOf, intervalOf, lastDays, wrongDays, type Days } from "./interval";
import { Section } from "./SearchForm";

export function DatesSection() {
  const trans = useTranslation();
  const { datetime } = useSession();
  const days = daysOf(useStore(datetime));
  const set = (changes: Partial<Days>) => datetime.set(intervalOf({ ...days, ...changes }));
  const year = new Date().getUTCFullYear();
  return (
    <Section
      icon="calendar"
      title={trans.__("Dates")}
      summary={days.from || days.to ? undefined : trans.__("any time")}
      actions={
        <Menu
          label={trans.__("Span")}
          kind="quiet"
          items={[
            { label: trans.__("Last 7 days"), run: () => set(lastDays(7)) },
            { label: trans.__("Last 30 days"), run: () => set(lastDays(30)) },
            { label: trans.__("Last 12 months"), run: () => set(lastDays(365)) },
            { label: String(year), run: () => set({ from: `${year}-01-01`, to: `${year}-12-31` }), apart: true },
            { label: String(year - 1), run: () => set({ from: `${year - 1}-01-01`, to: `${year - 1}-12-31` }) },
            { label: trans.__("Any time"), run: () => set({ from: "", to: "" }), apart: true },
          ]}
        />
      }
    >
      <div class="cs-pair">
        <TextField label={trans.__("From")} type="date" value={days.from} max={days.to || undefined} onValue={(from) => set({ from })} />
        <TextField
          label={trans.__("To")}
          type="date"
          value={days.to}
          min={days.from || undefined}
          onValue={(to) => set({ to })}
          problem={wrongDays(days) ? trans.__("This is before the first day.") : ""}
        />
      </div>
      <HistogramChart />
    </Section>
  );
}
