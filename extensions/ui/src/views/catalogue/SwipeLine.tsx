/** The line between two pictures: dragged, or moved with the arrow keys. */

import { useRef } from "preact/hooks";
import { Icon } from "../../design/icons";
import { useTranslation } from "../../i18n";
import { useSession, useStore } from "../../state/hooks";
import { previewsOf } from "./previews";

const STEP = 0.02;

export function SwipeLine() {
  const trans = useTranslation();
  const { swipe } = previewsOf(useSession());
  const position = useStore(swipe) ?? 0.5;
  const line = useRef<HTMLDivElement>(null);
  const set = (value: number) => swipe.set(Math.max(0, Math.min(1, value)));
  return (
    <div
      ref={line}
      class="cs-swipe"
      role="slider"
      tabIndex={0}
      aria-label={trans.__("Line between the two pictures")}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(position * 100)}
      style={{ left: `${position * 100}%` }}
      onKeyDown={(event) => {
        const to = { ArrowLeft: position - STEP, ArrowRight: position + STEP, Home: 0, End: 1 }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        event.stopPropagation();
        set(to);
      }}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={(event) => {
        if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
        const frame = line.current?.parentElement?.getBoundingClientRect();
        if (frame) set((event.clientX - frame.left) / frame.width);
      }}
    >
      <span class="cs-swipe-grip">
        <Icon name="swipe" />
      </span>
    </div>
  );
}
