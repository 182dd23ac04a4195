/** The theme's colours, as canvases want them. */

export interface Colours {
  water: string;
  land: string;
  coast: string;
  border: string;
  label: string;
  halo: string;
  footprint: string;
  strong: string;
  selected: string;
}

const NAMES: readonly (keyof Colours)[] = [
  "water",
  "land",
  "coast",
  "border",
  "label",
  "halo",
  "footprint",
  "strong",
  "selected",
];

/** What `--cs-map-NAME` (map.css) is at an element, mixed and resolved. */
export function coloursAt(element: HTMLElement): Colours {
  const probe = document.createElement("span");
  element.append(probe);
  const found = Object.fromEntries(
    NAMES.map((name) => {
      probe.style.color = `var(--cs-map-${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  );
  probe.remove();
  return found as unknown as Colours;
}
