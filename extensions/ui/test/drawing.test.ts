import * as L from "leaflet";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Drawing } from "../src/map/drawing";
import type { Area } from "../src/state/session";

const SQUARE: Area = { type: "Polygon", coordinates: [[[0, 0], [0, 10], [10, 12], [12, 0], [0, 0]]] };

describe("corners of an area", () => {
  let map: L.Map;
  let drawing: Drawing;
  let changes: Area[];
  const corners = () => [...map.getContainer().querySelectorAll<HTMLElement>(".cs-map-handle")];
  const press = (key: string) => document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));

  beforeEach(() => {
    const panel = document.createElement("div");
    panel.className = "cs-panel";
    const element = panel.appendChild(document.createElement("div"));
    document.body.append(panel);
    map = L.map(element, { center: [5, 5], zoom: 4, renderer: L.svg() });
    for (const pane of ["area", "handles"]) map.createPane(pane);
    changes = [];
    drawing = new Drawing(map, { map: "Map", corner: (number) => `Corner ${number}` }, () => undefined, (area) => changes.push(area));
    element.focus();
    drawing.start("edit", SQUARE);
    corners()[0]?.focus();
  });
  afterEach(() => {
    drawing.stop();
    document.body.replaceChildren();
  });

  it("stay where they were moved, and keep the focus, when an earlier move comes back late", () => {
    const focused = document.activeElement;
    expect(focused).toBe(corners()[0]);
    press("ArrowLeft");
    press("ArrowLeft");
    drawing.areaIs(changes[0] as Area);
    expect(document.activeElement).toBe(focused);
    press("ArrowLeft");
    const [first, , third] = changes.map((area) => (area.coordinates as number[][][])[0]?.[0]?.[0] as number);
    expect(third).toBeCloseTo(3 * (first as number), 2);
  });
  it("follow an area that another panel has changed", () => {
    press("ArrowLeft");
    drawing.areaIs({ type: "Polygon", coordinates: [[[0, 0], [0, 10], [10, 12], [0, 0]]] });
    expect(corners()).toHaveLength(3);
  });
  it("are put back by Escape, and go", () => {
    press("ArrowLeft");
    press("Escape");
    expect(changes.at(-1)).toBe(SQUARE);
    expect(corners()).toHaveLength(0);
  });
});
