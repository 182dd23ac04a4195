/** The fields of a workflow, made from the schema of its parameters. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { Button, Checkbox, IconButton, SelectField, TextField } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { areaBox, boxText, type Box } from "../../map/geo";
import { useSession, useStore } from "../../state/hooks";
import { pretty } from "./json";
import { halves, periodOf, shiftDay, wrongValue, type CollectionName, type FormField, type Interval, type Values, type Wrong } from "./schema-form";

interface SchemaFormProps {
  fields: readonly FormField[];
  values: Values;
  /** Collections that can be chosen. */
  collections: readonly CollectionName[];
  /** What the server found wrong, by field. */
  said: Record<string, string>;
  /** Whether empty fields are complained of. */
  strict: boolean;
  onValue: (name: string, value: unknown) => void;
}

/** Kinds of fields that stand beside each other where there is room. */
const SHORT = new Set<FormField["kind"]>(["choice", "number", "boolean", "text"]);

export function SchemaForm({ fields, values, collections, said, strict, onValue }: SchemaFormProps) {
  const trans = useTranslation();
  return (
    <div class="cs-new-form">
      {fields.map((field) => {
        const wrong = wrongValue(field, values[field.name]);
        const silent = !strict && (wrong === "missing" || wrong === "days" || wrong === "box");
        const problem = said[field.name] || (silent ? "" : words(wrong, field, trans));
        return (
          <div key={field.name} class={SHORT.has(field.kind) ? "cs-form-short" : "cs-form-wide"}>
            <OneField field={field} value={values[field.name]} problem={problem} collections={collections} onValue={(value) => onValue(field.name, value)} />
          </div>
        );
      })}
    </div>
  );
}

function words(wrong: Wrong, { min, max }: FormField, trans: ReturnType<typeof useTranslation>): string {
  switch (wrong) {
    case "missing":
      return trans.__("This is needed.");
    case "number":
      return trans.__("This is not a number.");
    case "small":
      return trans.__("It is %1 at least.", min);
    case "large":
      return trans.__("It is %1 at most.", max);
    case "days":
      return trans.__("Both days are needed, the first one first.");
    case "box":
      return trans.__("West and south first, east and north larger, in degrees.");
    case "json":
      return trans.__("This is not JSON.");
    case "":
      return "";
  }
}

interface OneFieldProps {
  field: FormField;
  value: unknown;
  problem: string;
  collections: readonly CollectionName[];
  onValue: (value: unknown) => void;
}

function OneField({ field, value, problem, collections, onValue }: OneFieldProps) {
  const trans = useTranslation();
  const { kind, title, description, choices, min, max, step, required } = field;
  const label = required ? title : trans.__("%1 (optional)", title);
  const optional = !required && field.initial === undefined ? label : title;
  switch (kind) {
    case "bbox":
      return <BoxField label={title} value={value} problem={problem} onValue={onValue} />;
    case "period":
      return <PeriodField label={title} value={value} problem={problem} onValue={onValue} />;
    case "intervals":
      return <IntervalsField label={title} value={value} problem={problem} onValue={onValue} />;
    case "collection":
      return <CollectionField label={title} hint={description} value={String(value ?? "")} problem={problem} collections={collections} onValue={onValue} />;
    case "choice":
      return (
        <SelectField label={optional} hint={description} problem={problem} value={String(value ?? "")} options={choices.map((each) => [each, each] as const)} onValue={onValue} />
      );
    case "boolean":
      return <Checkbox checked={value === true} onChecked={onValue} label={title} />;
    case "number":
      return (
        <TextField
          label={optional}
          hint={description}
          problem={problem}
          type="number"
          min={min}
          max={max}
          step={step}
          value={value === undefined || value === null ? "" : String(value)}
          onValue={(text) => onValue(text === "" ? null : Number(text))}
        />
      );
    case "texts":
      return (
        <TextField
          label={optional}
          hint={trans.__("%1 Separated by commas.", description)}
          problem={problem}
          value={Array.isArray(value) ? value.join(", ") : ""}
          onValue={(text) => onValue(text.split(",").map((each) => each.trim()))}
        />
      );
    case "text":
      return <TextField label={optional} hint={description} problem={problem} value={String(value ?? "")} onValue={onValue} />;
    case "json":
      return <JsonField label={optional} hint={description} problem={problem} value={value} onValue={onValue} />;
  }
}

function Group({ label, problem, children }: { label: string; problem: string; children: ComponentChildren }) {
  return (
    <fieldset class="cs-group">
      <legend class="cs-label">{label}</legend>
      {children}
      {problem && (
        <div class="cs-hint cs-wrong" role="alert">
          {problem}
        </div>
      )}
    </fieldset>
  );
}

interface ValueProps {
  label: string;
  value: unknown;
  problem: string;
  onValue: (value: unknown) => void;
}

function BoxField({ label, value, problem, onValue }: ValueProps) {
  const trans = useTranslation();
  const session = useSession();
  const area = useStore(session.area);
  const onMap = area && areaBox(area);
  const box = Array.isArray(value) ? (value as (number | null)[]) : [null, null, null, null];
  const names = [trans.__("West"), trans.__("South"), trans.__("East"), trans.__("North")];
  const same = onMap && box.every((each, index) => each === onMap[index]);
  return (
    <Group label={label} problem={problem}>
      <div class="cs-bbox">
        {names.map((name, index) => (
          <TextField
            key={name}
            label={name}
            type="number"
            step="any"
            value={box[index] === null || box[index] === undefined ? "" : String(box[index])}
            onValue={(text) => onValue(box.map((each, at) => (at === index ? (text === "" ? null : Number(text)) : each)))}
          />
        ))}
      </div>
      <div class="cs-actions">
        <Button icon="target" disabled={!onMap || !!same} onClick={() => onValue(onMap)}>
          {trans.__("The area on the map")}
        </Button>
        <span class="cs-hint">
          {same ? trans.__("This is the area on the map.") : onMap ? boxText(onMap as Box) : trans.__("No area is drawn. Draw one in the Catalogue, or type the degrees.")}
        </span>
      </div>
    </Group>
  );
}

/** The two days of an interval whose end is the day after the last. */
function Days({ interval, onInterval }: { interval: Interval; onInterval: (interval: Interval) => void }) {
  const trans = useTranslation();
  const [from, before] = interval;
  return (
    <>
      <TextField label={trans.__("First day")} type="date" value={from} onValue={(day) => onInterval([day, before])} />
      <TextField label={trans.__("Last day")} type="date" value={shiftDay(before, -1)} onValue={(day) => onInterval([from, shiftDay(day, 1)])} />
    </>
  );
}

function isInterval(value: unknown): value is Interval {
  return Array.isArray(value) && value.length === 2 && value.every((each) => typeof each === "string");
}

function PeriodField({ label, value, problem, onValue }: ValueProps) {
  const trans = useTranslation();
  const datetime = useStore(useSession().datetime);
  return (
    <Group label={label} problem={problem}>
      <div class="cs-period">
        <Days interval={isInterval(value) ? value : ["", ""]} onInterval={onValue} />
      </div>
      {datetime && (
        <div class="cs-actions">
          <Button icon="calendar" onClick={() => onValue(periodOf(datetime))}>
            {trans.__("The dates of the search")}
          </Button>
        </div>
      )}
    </Group>
  );
}

function IntervalsField({ label, value, problem, onValue }: ValueProps) {
  const trans = useTranslation();
  const datetime = useStore(useSession().datetime);
  const intervals = Array.isArray(value) ? value.filter(isInterval) : [];
  return (
    <Group label={label} problem={problem}>
      {intervals.map((interval, index) => (
        <div class="cs-interval" key={index} role="group" aria-label={trans.__("Interval %1", index + 1)}>
          <Days interval={interval} onInterval={(changed) => onValue(intervals.map((each, at) => (at === index ? changed : each)))} />
          <IconButton icon="bin" label={trans.__("Take interval %1 away", index + 1)} onClick={() => onValue(intervals.filter((_, at) => at !== index))} />
        </div>
      ))}
      <div class="cs-actions">
        <Button icon="plus" onClick={() => onValue([...intervals, [intervals.at(-1)?.[1] ?? "", ""]])}>
          {trans.__("Add an interval")}
        </Button>
        {datetime && (
          <Button icon="calendar" onClick={() => onValue(halves(periodOf(datetime)))}>
            {trans.__("Two halves of the dates of the search")}
          </Button>
        )}
      </div>
    </Group>
  );
}

interface CollectionFieldProps extends ValueProps {
  hint: string;
  collections: readonly CollectionName[];
}

const OTHER = "\n"; // no id of a collection

/** One that is known, by its title, or another one by its id. */
function CollectionField({ label, hint, value, problem, collections, onValue }: CollectionFieldProps) {
  const trans = useTranslation();
  const id = String(value);
  const known = collections.some((each) => each.id === id);
  const [other, setOther] = useState(false);
  const typed = other || (id !== "" && !known);
  if (!collections.length) return <TextField label={label} hint={hint} problem={problem} value={id} onValue={onValue} />;
  return (
    <div class="cs-group">
      <SelectField
        label={label}
        problem={typed ? "" : problem}
        value={typed ? OTHER : id}
        options={[
          ["", trans.__("Choose…")] as const,
          ...collections.map((each) => [each.id, each.title === each.id ? each.id : `${each.title} (${each.id})`] as const),
          [OTHER, trans.__("Another one, by its id…")] as const,
        ]}
        onValue={(chosen) => {
          setOther(chosen === OTHER);
          onValue(chosen === OTHER ? "" : chosen);
        }}
      />
      {typed && <TextField label={trans.__("Id of the collection")} hint={hint} problem={problem} value={id} onValue={onValue} />}
    </div>
  );
}

function JsonField({ label, hint, value, problem, onValue }: ValueProps & { hint: string }) {
  const [text, setText] = useState(value === undefined ? "" : pretty(value));
  return (
    <TextField
      label={label}
      hint={hint}
      problem={problem}
      lines={4}
      value={text}
      onValue={(written) => {
        setText(written);
        try {
          onValue(written ? JSON.parse(written) : undefined);
        } catch {
          onValue(written); // text where something else is wanted: it is complained of
        }
      }}
    />
  );
}
