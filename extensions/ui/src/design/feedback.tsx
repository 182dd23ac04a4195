/** What the panel says: how far it is, that there is nothing yet, what went wrong. */

import type { ComponentChildren } from "preact";
import type { ApiProblem } from "../api/problem";
import { useTranslation } from "../i18n";
import { Button } from "./controls";
import { Icon, type IconName } from "./icons";

type Tone = "info" | "success" | "warning" | "error";

interface NoteProps {
  tone?: Tone;
  title?: string;
  children?: ComponentChildren;
  actions?: ComponentChildren;
}

/** A box with something to read; of errors and warnings a screen reader tells at once. */
export function Note({ tone = "info", title, children, actions }: NoteProps) {
  const loud = tone === "error" || tone === "warning";
  return (
    <div class={`cs-note cs-note-${tone}`} role={loud ? "alert" : "status"}>
      <Icon name={tone === "success" ? "check" : loud ? "warning" : "info"} />
      <div class="cs-note-text">
        {title && <strong>{title}</strong>}
        {children && <div>{children}</div>}
        {actions && <div class="cs-actions">{actions}</div>}
      </div>
    </div>
  );
}

/** What a request failed with, and trying it again. */
export function ProblemNote({ problem, retry }: { problem: ApiProblem; retry?: () => void }) {
  const trans = useTranslation();
  return (
    <Note
      tone="error"
      title={problem.message}
      actions={
        retry && (
          <Button icon="refresh" onClick={retry}>
            {trans.__("Try again")}
          </Button>
        )
      }
    >
      {problem.hint}
      {problem.requestId && <div class="cs-hint">{trans.__("Reference for support: %1", problem.requestId)}</div>}
    </Note>
  );
}

interface EmptyProps {
  icon: IconName;
  title: string;
  children?: ComponentChildren;
  actions?: ComponentChildren;
}

/** Nothing is here yet: why, and what to do. */
export function Empty({ icon, title, children, actions }: EmptyProps) {
  return (
    <div class="cs-empty">
      <Icon name={icon} size={32} />
      <strong>{title}</strong>
      {children && <p>{children}</p>}
      {actions && <div class="cs-actions">{actions}</div>}
    </div>
  );
}

interface ProgressProps {
  label: string;
  /** Between 0 and 1; null: under way, nobody knows how far. */
  value: number | null;
}

export function Progress({ label, value }: ProgressProps) {
  const percent = value === null ? undefined : Math.round(value * 100);
  return (
    <div
      class={value === null ? "cs-progress cs-progress-unknown" : "cs-progress"}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <div style={percent === undefined ? undefined : { width: `${percent}%` }} />
    </div>
  );
}

export function Badge({ tone = "info", children }: { tone?: Tone | "plain"; children: ComponentChildren }) {
  return <span class={`cs-badge cs-badge-${tone}`}>{children}</span>;
}

/** Something is on its way. */
export function Waiting({ children }: { children: ComponentChildren }) {
  return (
    <div class="cs-waiting" role="status">
      <span class="cs-spinner" aria-hidden="true" />
      {children}
    </div>
  );
}
