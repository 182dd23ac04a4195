/**
 * The cells of a notebook as the server prepared them: code and outputs as text, pictures drawn anew,
 * Markdown as HTML that the server reduced to a few elements.
 *
 * That HTML is shown in a frame of its own in which nothing runs and nothing loads, whatever it holds.
 */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Preview, PreviewCell, PreviewOutput } from "../../api/schema";
import { Note } from "../../design/feedback";
import { useTranslation } from "../../i18n";

export function PreviewCells({ preview: { cells, cut } }: { preview: Preview }) {
  const trans = useTranslation();
  return (
    <div class="cs-cells">
      {!cells.length && <p class="cs-soft">{trans.__("The notebook has no cells.")}</p>}
      {cells.map((cell, index) => (
        <Cell key={index} cell={cell} number={index + 1} />
      ))}
      {cut && <Note>{trans.__("Something long was cut here; a copy has all of it.")}</Note>}
    </div>
  );
}

function Cell({ cell: { kind, source, html, outputs }, number }: { cell: PreviewCell; number: number }) {
  const trans = useTranslation();
  const label = trans.__("Cell %1", number);
  return (
    <div class="cs-cell" role="group" aria-label={label}>
      {kind === "markdown" && html ? <Words html={html} title={trans.__("Text of cell %1", number)} /> : source && <pre class={`cs-cell-source cs-cell-${kind}`} tabIndex={0} aria-label={trans.__("Source of cell %1", number)}>{source}</pre>}
      {outputs?.map((output, index) => (
        <Output key={index} output={output} label={trans.__("Output %1 of cell %2", index + 1, number)} />
      ))}
    </div>
  );
}

function Output({ output: { kind, text, picture }, label }: { output: PreviewOutput; label: string }) {
  if (kind === "picture") return <img class="cs-cell-picture" src={`data:image/png;base64,${picture}`} alt={label} />;
  if (kind === "left_out") return <p class="cs-hint">{text}</p>;
  return text ? (
    <pre class={kind === "error" ? "cs-cell-output cs-wrong" : "cs-cell-output"} tabIndex={0} aria-label={label}>
      {text}
    </pre>
  ) : null;
}

const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

/** HTML of the server in a frame without scripts, with the colours and letters of the panel. */
function Words({ html, title }: { html: string; title: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [look, setLook] = useState("");
  const [height, setHeight] = useState(40);
  useLayoutEffect(() => {
    const read = () => {
      if (!frame.current) return;
      const { color, fontFamily, fontSize, colorScheme } = getComputedStyle(frame.current);
      setLook(`color:${color};font:${fontSize}/1.5 ${fontFamily};color-scheme:${colorScheme}`.replace(/[<>]/g, ""));
    };
    read();
    const theme = new MutationObserver(() => setTimeout(read, 400)); // colours fade over
    theme.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-name", "class"] });
    return () => theme.disconnect();
  }, []);
  const measure = () => {
    const body = frame.current?.contentDocument?.documentElement;
    if (body) setHeight(Math.min(Math.max(20, body.scrollHeight), 4000));
  };
  useLayoutEffect(() => {
    if (!frame.current) return;
    const sizes = new ResizeObserver(measure);
    sizes.observe(frame.current);
    return () => sizes.disconnect();
  }, []);
  const style = `html{${look};background:transparent}body{margin:0;overflow-wrap:anywhere}body>:first-child{margin-top:0}body>:last-child{margin-bottom:0}a{color:inherit}pre{overflow:auto}table{border-collapse:collapse}td,th{padding:2px 8px;border:1px solid}`;
  return (
    <iframe
      ref={frame}
      class="cs-cell-words"
      title={title}
      // The same origin only lets its height be measured; scripts are never allowed, links open elsewhere.
      sandbox="allow-same-origin allow-popups allow-popups-to-escape-sandbox"
      style={{ height: `${height}px` }}
      srcdoc={`<!doctype html><meta http-equiv="Content-Security-Policy" content="${POLICY}"><base target="_blank"><style>${style}</style><body>${html}`}
      onLoad={measure}
    />
  );
}
