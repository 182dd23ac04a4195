/** Conditions on any property that the chosen collections can be asked by. */

import { Button, IconButton, SelectField, TextField } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { useAsked, useSession } from "../../state/hooks";
import { wrongCondition, type Condition, type Operator } from "./form";
import { kindOf, propertiesOf, type Property } from "./queryables";
import { Section } from "./SearchForm";

interface ConditionsSectionProps {
  collections: readonly string[];
  conditions: readonly Condition[];
  onConditions: (conditions: Condition[]) => void;
}

const MOST_COLLECTIONS = 8;

export function ConditionsSection({ collections, conditions, onConditions }: ConditionsSectionProps) {
  const trans = useTranslation();
  const { api } = useSession();
  const { value: properties = [] } = useAsked([api, collections.join(" ")], async (signal) => {
    const asked = collections.length && collections.length <= MOST_COLLECTIONS;
    const schemas = asked
      ? await Promise.all(
          collections.map((ref) => api.get("/catalog/collections/{ref}/queryables", { path: { ref }, signal }).catch(() => ({}))),
        )
      : [await api.get("/catalog/queryables", { signal })];
    return propertiesOf(schemas);
  });
  const change = (index: number, changes: Partial<Condition>) =>
    onConditions(conditions.map((condition, at) => (at === index ? { ...condition, ...changes } : condition)));
  return (
    <Section
      icon="filter"
      title={trans.__("Properties")}
      actions={
        <Button
          kind="quiet"
          icon="plus"
          onClick={() => onConditions([...conditions, { property: "", operator: "=", value: "", kind: "text" }])}
        >
          {trans.__("Add")}
        </Button>
      }
    >
      {conditions.map((condition, index) => {
        const property = properties.find(({ name }) => name === condition.property);
        return (
          <div class="cs-condition" role="group" aria-label={trans.__("Condition %1", index + 1)} key={index}>
            <SelectField
              quiet
              label={trans.__("Property")}
              value={condition.property}
              options={[["", trans.__("Choose a property")], ...known(properties, condition.property)]}
              onValue={(name) => {
                const kind = kindOf(properties.find((each) => each.name === name));
                change(index, { property: name, kind, operator: kind === "number" ? "<=" : "=", value: kind === "boolean" ? "true" : "" });
              }}
            />
            <SelectField
              quiet
              label={trans.__("Comparison")}
              value={condition.operator}
              options={operators(condition.kind, trans)}
              onValue={(operator) => change(index, { operator: operator as Operator })}
            />
            {property?.values.length || condition.kind === "boolean" ? (
              <SelectField
                quiet
                label={trans.__("Value")}
                value={condition.value}
                options={(condition.kind === "boolean" ? ["true", "false"] : ["", ...(property?.values ?? [])]).map((text) => [text, text] as const)}
                onValue={(value) => change(index, { value })}
              />
            ) : (
              <TextField
                quiet
                label={trans.__("Value")}
                value={condition.value}
                placeholder={property?.range ?? ""}
                onValue={(value) => change(index, { value })}
                problem={wrongCondition(condition) ? trans.__("A number is wanted.") : ""}
              />
            )}
            <IconButton icon="clear" label={trans.__("Take this condition away")} onClick={() => onConditions(conditions.filter((_, at) => at !== index))} />
          </div>
        );
      })}
      {!conditions.length && <p class="cs-hint">{trans.__("Orbit, platform, processing level: whatever the archives can be asked by.")}</p>}
    </Section>
  );
}

function known(properties: readonly Property[], now: string): (readonly [string, string])[] {
  const options = properties.map(({ name, title }) => [name, title] as const);
  return now && !options.some(([name]) => name === now) ? [[now, now], ...options] : options;
}

function operators(kind: Condition["kind"], trans: ReturnType<typeof useTranslation>): (readonly [Operator, string])[] {
  const same: (readonly [Operator, string])[] = [
    ["=", trans.__("is")],
    ["<>", trans.__("is not")],
  ];
  if (kind === "boolean") return same;
  if (kind === "text") return [...same, ["like", trans.__("contains")]];
  return [
    ["<=", "≤"],
    [">=", "≥"],
    ["<", "<"],
    [">", ">"],
    ...same,
  ];
}
