/**
 * Drawing an area with the pointer or the keyboard.
 *
 * Rectangle: drag, or click twice. Polygon: click each corner, then the first again, or twice, or
 * Enter. With the keyboard the arrows move the map below the cross, and Enter or Space sets a corner
 * there; Backspace takes the last one away; Escape gives up. Editing: corners are dragged, or moved with
 * the arrows and taken away with Delete; each change counts at once, Enter ends, and Escape takes all of
 * them back.
 */

import * as L from "leaflet";
import type { Area } from "../state/session";
import { boxOf, isRectangle, polygonsOf, rectangle } from "./geo";
import type { DrawMode, MapWords } from "./port";

const NEAR = 8; // pixels
const STEP = 8;
const MOST_HANDLES = 400;
const SAME_CLICK = 100; // milliseconds between the end of a drawing and the click that ended it

export class Drawing {
  private mode: DrawMode = null;
  private corners: L.LatLng[] = [];
  private pressed: L.Point | null = null;
  private readonly sketch: L.Polygon;
  private readonly cross: HTMLElement;
  private handles: L.Marker[] = [];
  private edited: Area | null = null;
  /** What the area was before it was edited. */
  private unedited: Area | null = null;
  /** Areas told of since then. They come back as the session's area, maybe when corners are further already. */
  private told = new WeakSet<Area>();
  /** When the pointer ended a drawing, as events tell the time. */
  private ended = -Infinity;

  constructor(
    private readonly map: L.Map,
    private readonly words: MapWords,
    private readonly finished: (area: Area | null) => void,
    /** A corner is moved; `placed`: it is where it shall be. */
    private readonly changed: (area: Area, placed: boolean) => void,
  ) {
    this.sketch = L.polygon([], { className: "cs-map-sketch", interactive: false, pane: "area" });
    this.cross = document.createElement("div");
    this.cross.className = "cs-map-cross";
    this.cross.hidden = true;
    map.getContainer().append(this.cross);
    map.on("mousedown", this.down).on("mousemove", this.move).on("mouseup", this.up);
    map.on("click", this.click).on("dblclick", this.twice).on("move", this.follow);
    map.getContainer().addEventListener("keydown", this.key, true);
  }

  get active(): boolean {
    return this.mode !== null;
  }

  /** Whether a click belongs to a drawing: to one that goes on, or as the end of one. */
  takes({ timeStamp }: Event): boolean {
    return this.active || timeStamp - this.ended < SAME_CLICK;
  }

  start(mode: DrawMode, area: Area | null): void {
    this.stop();
    if (mode === "edit" && !area) return;
    this.mode = mode;
    const container = this.map.getContainer();
    if (mode === "edit" && area) {
      this.unedited = area;
      this.told = new WeakSet();
      this.edit(area);
      this.focus(this.handles[0]?.getElement());
      return;
    }
    container.classList.toggle("cs-map-drawing", mode !== null);
    this.cross.hidden = mode === null;
    if (mode) {
      this.map.doubleClickZoom.disable();
      this.sketch.addTo(this.map);
      this.focus(container);
    }
    if (mode === "rectangle") this.map.dragging.disable();
  }

  stop(): void {
    this.mode = null;
    this.corners = [];
    this.pressed = null;
    this.edited = null;
    this.unedited = null;
    this.sketch.setLatLngs([]).remove();
    this.cross.hidden = true;
    for (const handle of this.handles) handle.remove();
    this.handles = [];
    this.map.getContainer().classList.remove("cs-map-drawing");
    this.map.dragging.enable();
    this.map.doubleClickZoom.enable();
  }

  /** The area has become another while it is edited, such as by another panel of the page. */
  areaIs(area: Area | null): void {
    if (this.mode !== "edit" || (area && this.told.has(area)) || JSON.stringify(area) === JSON.stringify(this.edited)) return;
    if (area) this.again(area);
    else this.end(null);
  }

  private end(area: Area | null): void {
    this.focus(this.map.getContainer()); // a corner that has it goes
    this.stop();
    this.finished(area);
  }

  /** Give the focus to an element, but not from another panel of the page, which draws the same. */
  private focus(element: HTMLElement | undefined): void {
    const { activeElement } = this.map.getContainer().getRootNode() as Document | ShadowRoot;
    if (this.map.getContainer().closest(".cs-panel")?.contains(activeElement)) element?.focus({ preventScroll: true });
  }

  // -- with the pointer ---------------------------------------------------------------------------

  private readonly down = ({ latlng, containerPoint, originalEvent }: L.LeafletMouseEvent) => {
    if (this.mode !== "rectangle" || originalEvent.button !== 0) return;
    this.pressed = containerPoint;
    if (!this.corners.length) this.corners = [latlng];
  };

  private readonly move = ({ latlng }: L.LeafletMouseEvent) => this.preview(latlng);

  private readonly up = ({ latlng, containerPoint, originalEvent }: L.LeafletMouseEvent) => {
    if (this.mode !== "rectangle" || !this.pressed) return;
    const dragged = containerPoint.distanceTo(this.pressed) > NEAR;
    this.pressed = null;
    const [first] = this.corners;
    if (first && (dragged || this.map.latLngToContainerPoint(first).distanceTo(containerPoint) > NEAR)) {
      this.ended = originalEvent.timeStamp;
      this.close(latlng);
    }
  };

  private readonly click = ({ latlng, containerPoint, originalEvent }: L.LeafletMouseEvent) => {
    if (this.mode !== "polygon") return;
    const [first] = this.corners;
    if (first && this.corners.length >= 3 && this.map.latLngToContainerPoint(first).distanceTo(containerPoint) < NEAR) {
      this.ended = originalEvent.timeStamp;
      this.close();
    } else this.add(latlng);
  };

  private readonly twice = () => {
    if (this.mode !== "polygon") return;
    this.corners.pop(); // the second click of the two
    this.close();
  };

  private readonly follow = () => {
    if (!this.cross.hidden && document.activeElement === this.map.getContainer()) this.preview(this.map.getCenter());
  };

  // -- with the keyboard ----------------------------------------------------------------------------

  private readonly key = (event: KeyboardEvent) => {
    if (!this.mode) return;
    const { key } = event;
    if (this.mode === "edit") {
      if (key === "Escape" && this.unedited) this.changed(this.unedited, true);
      else if (key !== "Enter") return;
      this.end(null);
    } else if (key === "Escape") this.end(null);
    else if (event.target !== this.map.getContainer()) return;
    else if (key === "Enter" || key === " ") {
      const here = this.map.getCenter();
      const last = this.corners.at(-1);
      if (this.mode === "rectangle") {
        if (this.corners.length) this.close(here);
        else this.add(here);
      } else if (last?.equals(here) || (key === "Enter" && this.corners.length >= 3 && this.corners[0]?.equals(here))) this.close();
      else this.add(here);
    } else if (key === "Backspace") {
      this.corners.pop();
      this.preview(this.map.getCenter());
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  // -- what is drawn -------------------------------------------------------------------------------

  private add(corner: L.LatLng): void {
    this.corners.push(corner);
    this.preview(corner);
  }

  private preview(to: L.LatLng): void {
    if (this.mode !== "rectangle" && this.mode !== "polygon") return;
    const [first] = this.corners;
    if (!first) return;
    if (this.mode === "polygon") this.sketch.setLatLngs([...this.corners, to]);
    else this.sketch.setLatLngs([first, L.latLng(first.lat, to.lng), to, L.latLng(to.lat, first.lng)]);
  }

  private close(to?: L.LatLng): void {
    const corners = (to ? [...this.corners, to] : this.corners).map((corner) => point(corner));
    const box = boxOf(corners);
    if (!box || box[0] === box[2] || box[1] === box[3]) return;
    if (this.mode === "rectangle") this.end(rectangle(box));
    else if (corners.length >= 3) this.end({ type: "Polygon", coordinates: [[...corners, [...(corners[0] as number[])]]] });
  }

  // -- editing --------------------------------------------------------------------------------------

  private edit(area: Area): void {
    this.edited = structuredClone(area);
    let number = 0;
    for (const [which, polygon] of polygonsOf(this.edited).entries()) {
      for (const [ring, corners] of polygon.entries()) {
        for (let index = 0; index < corners.length - 1 && this.handles.length < MOST_HANDLES; index++) {
          this.handle(++number, which, ring, index);
        }
      }
    }
  }

  private handle(number: number, which: number, ring: number, index: number): void {
    const corners = () => polygonsOf(this.edited as Area)[which]?.[ring] as number[][];
    const [x = 0, y = 0] = corners()[index] ?? [];
    const marker = L.marker([y, x], {
      icon: L.divIcon({ className: "cs-map-handle", iconSize: [14, 14] }),
      draggable: true,
      keyboard: true,
      pane: "handles",
      title: this.words.corner(number),
    }).addTo(this.map);
    const moved = (to: L.LatLng, placed: boolean) => {
      const area = this.edited as Area;
      const [nx, ny] = point(to) as [number, number];
      const list = corners();
      const before = list[index] as number[];
      if (isRectangle(area)) {
        // A rectangle stays one: its neighbours follow.
        for (const corner of list) {
          if (corner === before) continue;
          if (corner[0] === before[0] && corner[1] !== before[1]) corner[0] = nx;
          else if (corner[1] === before[1] && corner[0] !== before[0]) corner[1] = ny;
        }
        const same = list.filter((corner) => corner !== before && corner[0] === before[0] && corner[1] === before[1]);
        for (const corner of [before, ...same]) [corner[0], corner[1]] = [nx, ny];
      } else {
        [before[0], before[1]] = [nx, ny];
        if (index === 0) list[list.length - 1] = [nx, ny];
      }
      this.tell(structuredClone(area), placed);
    };
    marker.on("drag", () => moved(marker.getLatLng(), false));
    marker.on("dragend", () => {
      moved(marker.getLatLng(), true);
      this.again(this.edited as Area);
    });
    marker.getElement()?.addEventListener("keydown", (event: KeyboardEvent) => {
      const steps: Record<string, [number, number]> = {
        ArrowLeft: [-STEP, 0],
        ArrowRight: [STEP, 0],
        ArrowUp: [0, -STEP],
        ArrowDown: [0, STEP],
      };
      const step = steps[event.key];
      if (step) {
        const to = this.map.latLngToContainerPoint(marker.getLatLng()).add(step);
        marker.setLatLng(this.map.containerPointToLatLng(to));
        moved(marker.getLatLng(), true);
        this.place();
      } else if (event.key === "Delete" && corners().length > 4 && !isRectangle(this.edited as Area)) {
        const list = corners();
        list.splice(index, 1);
        if (index === 0) list[list.length - 1] = [...(list[0] as number[])];
        this.tell(structuredClone(this.edited as Area), true);
        this.again(this.edited as Area);
        this.handles[0]?.getElement()?.focus();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.handles.push(marker);
  }

  private tell(area: Area, placed: boolean): void {
    this.told.add(area);
    this.changed(area, placed);
  }

  /** Put the handles where the corners are. */
  private place(): void {
    const all = polygonsOf(this.edited as Area).flatMap((polygon) => polygon.flatMap((ring) => ring.slice(0, -1)));
    for (const [index, handle] of this.handles.entries()) {
      const [x, y] = all[index] ?? [];
      if (x !== undefined && y !== undefined) handle.setLatLng([y, x]);
    }
  }

  private again(area: Area): void {
    for (const handle of this.handles) handle.remove();
    this.handles = [];
    this.edit(area);
  }
}

/** Longitude and latitude to a metre, within the world. */
function point({ lng, lat }: L.LatLng): number[] {
  const longitude = (((lng + 180) % 360) + 360) % 360 - 180;
  return [Math.round(longitude * 1e5) / 1e5, Math.round(Math.max(-90, Math.min(90, lat)) * 1e5) / 1e5];
}
