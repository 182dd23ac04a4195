/** Buttons and fields. Every one has a name that can be read aloud. */

import type { ComponentChildren, JSX } from "preact";
import { Icon, type IconName } from "./icons";
import { usePageId } from "./page-id";

interface ButtonProps extends Omit<JSX.HTMLAttributes<HTMLButtonElement>, "icon"> {
  icon?: IconName;
  kind?: "plain" | "primary" | "danger" | "quiet";
  disabled?: boolean;
  children?: ComponentChildren;
  type?: "button" | "submit";
}

export function Button({ icon, kind = "plain", children, type = "button", ...rest }: ButtonProps) {
  return (
    <button {...rest} type={type} class={`cs-button cs-button-${kind} ${rest.class ?? ""}`}>
      {icon && <Icon name={icon} />}
      {children !== undefined && <span>{children}</span>}
    </button>
  );
}

interface IconButtonProps extends Omit<ButtonProps, "children" | "label"> {
  icon: IconName;
  /** What it does; also its tooltip. */
  label: string;
  pressed?: boolean;
}

export function IconButton({ icon, label, pressed, kind = "quiet", type = "button", ...rest }: IconButtonProps) {
  return (
    <button
      {...rest}
      type={type}
      class={`cs-button cs-icon-button cs-button-${kind} ${rest.class ?? ""}`}
      aria-label={label}
      title={label}
      aria-pressed={pressed}
    >
      <Icon name={icon} />
    </button>
  );
}

interface FieldProps {
  label: string;
  hint?: ComponentChildren;
  problem?: string;
  /** The label is for screen readers only. */
  quiet?: boolean;
  children: (attributes: { id: string; "aria-describedby"?: string; "aria-invalid"?: boolean }) => ComponentChildren;
}

/** A label, what is filled in, and what there is to say of it. */
export function Field({ label, hint, problem, quiet, children }: FieldProps) {
  const id = usePageId();
  const said = hint || problem ? `${id}-said` : undefined;
  return (
    <div class="cs-field">
      <label for={id} class={quiet ? "cs-unseen" : "cs-label"}>
        {label}
      </label>
      {children({ id, "aria-describedby": said, "aria-invalid": problem ? true : undefined })}
      {said && (
        <div id={said} class={problem ? "cs-hint cs-wrong" : "cs-hint"} role={problem ? "alert" : undefined}>
          {problem || hint}
        </div>
      )}
    </div>
  );
}

interface TextFieldProps extends Omit<FieldProps, "children"> {
  value: string;
  onValue: (value: string) => void;
  type?: "text" | "search" | "date" | "number" | "datetime-local";
  placeholder?: string;
  lines?: number;
  min?: string | number;
  max?: string | number;
  step?: string | number;
  disabled?: boolean;
  onEnter?: () => void;
}

export function TextField({ value, onValue, type = "text", lines, onEnter, label, hint, problem, quiet, ...rest }: TextFieldProps) {
  return (
    <Field label={label} hint={hint} problem={problem} quiet={quiet}>
      {(attributes) =>
        lines ? (
          <textarea
            {...attributes}
            {...rest}
            class="cs-input"
            rows={lines}
            value={value}
            spellcheck={false}
            onInput={(event) => onValue(event.currentTarget.value)}
          />
        ) : (
          <input
            {...attributes}
            {...rest}
            class="cs-input"
            type={type}
            value={value}
            autocomplete="off"
            onInput={(event) => onValue(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key === "Enter" && onEnter) {
                event.preventDefault();
                onEnter();
              }
            }}
          />
        )
      }
    </Field>
  );
}

interface SelectFieldProps extends Omit<FieldProps, "children"> {
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  onValue: (value: string) => void;
  disabled?: boolean;
}

export function SelectField({ value, options, onValue, disabled, ...field }: SelectFieldProps) {
  return (
    <Field {...field}>
      {(attributes) => (
        <select
          {...attributes}
          class="cs-input"
          value={value}
          disabled={disabled}
          onChange={(event) => onValue(event.currentTarget.value)}
        >
          {options.map(([key, text]) => (
            <option key={key} value={key}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface CheckboxProps {
  checked: boolean;
  onChecked: (checked: boolean) => void;
  label: ComponentChildren;
  /** The label is for screen readers only. */
  quiet?: boolean;
  mixed?: boolean;
  disabled?: boolean;
}

export function Checkbox({ checked, onChecked, label, quiet, mixed = false, disabled }: CheckboxProps) {
  return (
    <label class="cs-checkbox">
      <input
        type="checkbox"
        checked={checked}
        disabled={disabled}
        ref={(input) => {
          if (input) input.indeterminate = mixed;
        }}
        onChange={(event) => onChecked(event.currentTarget.checked)}
      />
      <span class={quiet ? "cs-unseen" : undefined}>{label}</span>
    </label>
  );
}
