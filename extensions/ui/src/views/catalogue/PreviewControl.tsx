/** Which pictures are on the map, what of each is shown, and comparing two. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { IconButton, SelectField } from "../../design/controls";
import { useTranslation } from "../../i18n";
import { LayerLegend } from "../../map/LayerLegend";
import { useAsked, useSession, useStore } from "../../state/hooks";
import { layerOf, previewsOf, type Preview } from "./previews";
import { refParts } from "./refs";
import { catalogueUi } from "./ui-state";

const WIDE = 480; // pixels

export function PreviewControl() {
  const trans = useTranslation();
  const previews = previewsOf(useSession());
  const list = useStore(previews.list);
  const swipe = useStore(previews.swipe);
  const element = useRef<HTMLElement>(null);
  const [chosen, setChosen] = useState<boolean | null>(null);
  // In the side bar there is no room for both the map and this, until it is wanted.
  const folded = chosen ?? (element.current?.parentElement?.clientWidth ?? WIDE) < WIDE;
  const [, measured] = useState(0);
  useLayoutEffect(() => measured((count) => count + 1), [list.length > 0]);
  if (!list.length) return null;
  return (
    <section ref={element} class="cs-previews" aria-label={trans.__("Pictures on the map")}>
      <header class="cs-previews-head">
        <h3>{trans._n("%1 picture", "%1 pictures", list.length)}</h3>
        <span class="cs-spacer" />
        {list.length >= 2 && (
          <IconButton
            icon="swipe"
            label={trans.__("Compare the first two side by side")}
            pressed={swipe !== null}
            onClick={() => previews.swipe.set(swipe === null ? 0.5 : null)}
          />
        )}
        {list.length >= 2 && swipe !== null && <IconButton icon="refresh" label={trans.__("Change sides")} onClick={() => previews.turn()} />}
        <IconButton icon="bin" label={trans.__("Take all pictures away")} onClick={() => previews.clear()} />
        <IconButton
          icon={folded ? "left" : "down"}
          label={folded ? trans.__("Show the pictures' settings") : trans.__("Hide the pictures' settings")}
          onClick={() => setChosen(!folded)}
        />
      </header>
      {!folded && (
        <ul class="cs-plain-list">
          {list.map((preview, index) => (
            <Line key={preview.ref} preview={preview} side={swipe === null ? "" : index === 0 ? trans.__("left") : index === 1 ? trans.__("right") : ""} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Line({ preview, side }: { preview: Preview; side: string }) {
  const trans = useTranslation();
  const session = useSession();
  const previews = previewsOf(session);
  const ui = catalogueUi(session);
  const { ref, show, opacity } = preview;
  const { id } = refParts(ref);
  const problem = useStore(previews.problems, (all) => all[ref] ?? "");
  const busy = useStore(previews.busy, (refs) => refs.has(ref));
  const info = useAsked([ref], () => previews.info(ref));
  const renderings = info.value?.renderings ?? [];
  const why = problem || info.problem?.message || info.value?.problem || "";
  return (
    <li class="cs-preview">
      <div class="cs-preview-head">
        {side && <span class="cs-badge cs-badge-info">{side}</span>}
        {busy && <span class="cs-spinner" role="status" aria-label={trans.__("Loading the picture of %1", id)} />}
        <button type="button" class="cs-text-button" title={id} onClick={() => ui.open.set(ref)}>
          {id}
        </button>
        <IconButton icon="close" label={trans.__("Take %1 away", id)} onClick={() => previews.hide(ref)} />
      </div>
      {why ? (
        <p class="cs-hint cs-wrong" role="alert">
          {trans.__("It cannot be shown: %1", why)}
        </p>
      ) : (
        <div class="cs-preview-body">
          <SelectField
            quiet
            label={trans.__("What is shown of %1", id)}
            value={show || (renderings[0]?.id ?? "")}
            disabled={renderings.length < 2}
            options={renderings.length ? renderings.map((each) => [each.id, each.title] as const) : [["", trans.__("Loading…")]]}
            onValue={(value) => previews.show(ref, value)}
          />
          <input
            type="range"
            min={0}
            max={1}
            step={0.05}
            value={opacity}
            aria-label={trans.__("Opacity of %1", id)}
            onInput={(event) => previews.setOpacity(ref, Number(event.currentTarget.value))}
          />
          <LayerLegend layer={layerOf(ref)} show={show || (renderings[0]?.id ?? "")} wanted={renderings.length > 0} />
        </div>
      )}
    </li>
  );
}
