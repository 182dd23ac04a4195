/** The log of a job: streams, folds repeats, can be filtered and searched, says what to change. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { JobSummary } from "../../api/schema";
import { Button, Checkbox, IconButton, SelectField, TextField } from "../../design/controls";
import { Empty, Note, ProblemNote, Waiting } from "../../design/feedback";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { hintOf } from "./hints";
import { isOpen } from "./listing";
import { LogFeed } from "./log-feed";
import { filterLines, foldLines, lastWhere, marked, type Fold, type Level } from "./log-lines";

const SHOWN = 400; // folded lines at once
const LONG = 1500; // characters

export function LogPane({ job }: { job: JobSummary }) {
  const trans = useTranslation();
  const { api, say } = useSession();
  const feed = useMemo(() => new LogFeed(api, job.id), [api, job.id]);
  const { lines, dropped, known, problem } = useStore(feed.state);
  const [level, setLevel] = useState<Level>("info");
  const [text, setText] = useState("");
  const [following, setFollowing] = useState(true);
  const [more, setMore] = useState(0);
  const [unfolded, setUnfolded] = useState<ReadonlySet<number>>(new Set());
  const [target, setTarget] = useState<number | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const scrolled = useRef({ top: 0, height: 0 });
  const open = useRef(true);
  open.current = isOpen(job);
  useEffect(() => {
    const control = new AbortController();
    void feed.follow(() => !open.current, control.signal);
    return () => control.abort();
  }, [feed, isOpen(job)]);

  const wanted = useMemo(() => filterLines(lines, level, text), [lines, level, text]);
  const folds = useMemo(() => foldLines(wanted), [wanted]);
  const shown = folds.slice(Math.max(0, folds.length - SHOWN * (more + 1)));
  const hidden = folds.length - shown.length;
  const lastError = useMemo(() => lines[lastWhere(lines, (line) => line.level === "error")], [lines]);

  useLayoutEffect(() => {
    if (following && target === null && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [folds, following, target]);
  useLayoutEffect(() => {
    if (target === null) return;
    const row = box.current?.querySelector<HTMLElement>(`[data-line="${target}"]`);
    row?.scrollIntoView({ block: "center" });
    row?.focus({ preventScroll: true });
  }, [target, shown.length]);

  const jump = () => {
    if (!lastError) return;
    setText("");
    setLevel(level === "error" ? "error" : "info");
    setFollowing(false);
    const every = foldLines(filterLines(lines, level === "error" ? "error" : "info", ""));
    const at = lastWhere(every, ({ lines: all }) => all.includes(lastError));
    setMore(Math.floor((every.length - 1 - at) / SHOWN));
    setTarget(every[at]?.key ?? null);
  };
  const toggle = (key: number) =>
    setUnfolded((before) => {
      const next = new Set(before);
      if (!next.delete(key)) next.add(key);
      return next;
    });
  const copy = () =>
    void navigator.clipboard.writeText(wanted.map(({ time, level: said, message }) => `${time} ${said} ${message}`).join("\n")).then(
      () => say(trans._n("%1 line was copied.", "%1 lines were copied.", wanted.length), "success"),
      () => say(trans.__("The browser did not let it be copied."), "error"),
    );
  const hint = lastError ? job.error?.hint || hintOf(`${lastError.message} ${job.error?.message ?? ""}`, trans) : "";

  return (
    <div class="cs-log-pane">
      <div class="cs-log-tools">
        <TextField quiet type="search" label={trans.__("Search in the log")} placeholder={trans.__("Search in the log")} value={text} onValue={setText} />
        <SelectField
          quiet
          label={trans.__("Least level")}
          value={level}
          onValue={(value) => setLevel(value as Level)}
          options={[
            ["debug", trans.__("Everything")],
            ["info", trans.__("Information")],
            ["warning", trans.__("Warnings")],
            ["error", trans.__("Errors")],
          ]}
        />
        <Button icon="warning" disabled={!lastError} onClick={jump}>
          {trans.__("Last error")}
        </Button>
        <IconButton icon="copy" label={trans.__("Copy what is shown")} disabled={!wanted.length} onClick={copy} />
        <Checkbox
          checked={following}
          onChecked={(on) => {
            setTarget(null);
            setFollowing(on);
          }}
          label={trans.__("Follow")}
        />
        <span class="cs-hint" role="status">
          {known && (text || level !== "debug" ? trans.__("%1 of %2 lines", wanted.length, lines.length) : trans._n("%1 line", "%1 lines", lines.length))}
          {isOpen(job) && known && ` · ${trans.__("live")}`}
        </span>
      </div>
      {problem && (
        <div class="cs-pad">
          <ProblemNote problem={problem} />
        </div>
      )}
      {hint && (
        <div class="cs-pad">
          <Note tone="warning" title={trans.__("What to change")}>
            {hint}
          </Note>
        </div>
      )}
      {!known && !problem && <Waiting>{trans.__("Reading the log…")}</Waiting>}
      {known && !lines.length && (
        <Empty icon="jobs" title={trans.__("Nothing was written yet")}>
          {isOpen(job) ? trans.__("Lines appear here as they are written.") : trans.__("This job left no log.")}
        </Empty>
      )}
      {known && lines.length > 0 && !wanted.length && (
        <Empty
          icon="filter"
          title={trans.__("No line is like that")}
          actions={
            <Button
              onClick={() => {
                setText("");
                setLevel("debug");
              }}
            >
              {trans.__("Show everything")}
            </Button>
          }
        />
      )}
      {shown.length > 0 && (
        <div
          class="cs-log"
          ref={box}
          role="log"
          aria-live="off"
          aria-label={trans.__("Log")}
          tabIndex={0}
          onScroll={({ currentTarget: { scrollTop: top, scrollHeight: height } }) => {
            // Back by hand, and not because the lines became fewer.
            if (height === scrolled.current.height && top < scrolled.current.top - 1) setFollowing(false);
            scrolled.current = { top, height };
          }}
        >
          {dropped > 0 && !hidden && <p class="cs-hint">{trans._n("%1 earlier line is not kept here.", "%1 earlier lines are not kept here.", dropped)}</p>}
          {hidden > 0 && (
            <div class="cs-more">
              <Button
                onClick={() => {
                  setFollowing(false);
                  setMore(more + 1);
                }}
              >
                {trans.__("Show earlier lines (%1)", hidden)}
              </Button>
            </div>
          )}
          {shown.map((fold) => (
            <FoldRow key={fold.key} fold={fold} text={text} open={unfolded.has(fold.key)} target={fold.key === target} onToggle={() => toggle(fold.key)} />
          ))}
        </div>
      )}
    </div>
  );
}

interface FoldRowProps {
  fold: Fold;
  text: string;
  open: boolean;
  target: boolean;
  onToggle: () => void;
}

function FoldRow({ fold, text, open, target, onToggle }: FoldRowProps) {
  const trans = useTranslation();
  const { lines, level, key } = fold;
  const [whole, setWhole] = useState(false);
  const last = lines.at(-1);
  const shown = open ? lines : last ? [last] : [];
  const names = { debug: trans.__("debug"), info: "", warning: trans.__("warning"), error: trans.__("error") };
  return (
    <div class={`cs-log-row cs-log-${level}${target ? " cs-log-target" : ""}`} data-line={key} tabIndex={target ? -1 : undefined}>
      {shown.map((line, index) => (
        <div class="cs-log-line" key={line.id}>
          <time dateTime={line.time} title={line.time}>
            {new Date(line.time).toLocaleTimeString()}
          </time>
          {names[level] && <span class="cs-log-level">{names[level]}</span>}
          <span class="cs-log-text">
            {marked(whole ? line.message : line.message.slice(0, LONG), text).map(([piece, hit], at) => (hit ? <mark key={at}>{piece}</mark> : piece))}
            {line.message.length > LONG && !whole && (
              <button type="button" class="cs-text-button" onClick={() => setWhole(true)}>
                {trans.__("… show the whole line")}
              </button>
            )}
          </span>
          {index === 0 && lines.length > 1 && (
            <button type="button" class="cs-log-count" aria-expanded={open} onClick={onToggle}>
              {open ? trans.__("fold") : trans.__("%1 alike", lines.length)}
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
