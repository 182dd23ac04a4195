/** The map of the panel, on Leaflet. */

import * as L from "leaflet";
import type { Area } from "../state/session";
import { BasemapTiles, labelLayer } from "./basemap";
import type { CanvasLayer } from "./canvas-layer";
import { coloursAt } from "./colours";
import { Drawing } from "./drawing";
import { Footprints } from "./footprints";
import { polygonsOf, type Box } from "./geo";
import type { Camera, MakeMap, MapEvents, MapPort, MapWords, Raster } from "./port";
import { RasterLayer } from "./raster-layer";

const PANES: readonly [name: string, order: number][] = [
  ["rasters", 250],
  ["labels", 300],
  ["footprints", 350],
  ["marks", 360],
  ["area", 400],
  ["handles", 600],
];
const OWN_BASEMAP = "Natural Earth";

class LeafletMap implements MapPort {
  private readonly map: L.Map;
  private colours;
  private basemap: L.GridLayer | null = null;
  private readonly labels: CanvasLayer;
  private readonly footprints: Footprints;
  private readonly drawing: Drawing;
  private readonly areaLayer: L.Polygon;
  private area: Area | null = null;
  private rasters: RasterLayer[] = [];
  private swipe: number | null = null;
  private attribution = "";

  constructor(
    private readonly element: HTMLElement,
    { center, zoom }: Camera,
    private readonly events: MapEvents,
    words: MapWords,
  ) {
    this.map = L.map(element, {
      center: [center[1], center[0]],
      zoom,
      minZoom: 1,
      maxZoom: 19,
      zoomControl: false,
      worldCopyJump: true,
      maxBounds: [
        [-90, -Infinity],
        [90, Infinity],
      ],
      attributionControl: false,
    });
    L.control.attribution({ prefix: false }).addTo(this.map);
    L.control.scale({ imperial: false }).addTo(this.map);
    element.setAttribute("role", "application");
    element.setAttribute("aria-label", words.map);
    for (const [name, order] of PANES) {
      const pane = this.map.createPane(name);
      pane.style.zIndex = String(order);
      if (name !== "handles") pane.style.pointerEvents = "none";
    }
    this.colours = coloursAt(element);
    this.labels = labelLayer(() => this.colours);
    this.footprints = new Footprints(() => this.colours);
    this.areaLayer = L.polygon([], { className: "cs-map-area", interactive: false, pane: "area" });
    this.areaLayer.addTo(this.map);
    this.map.addLayer(this.footprints.layer).addLayer(this.footprints.markLayer);
    this.drawing = new Drawing(
      this.map,
      words,
      (drawn) => events.drawn(drawn),
      (area, placed) => {
        this.setArea(area);
        if (placed) events.edited?.(area);
      },
    );
    this.listen();
  }

  get bounds(): Box {
    const bounds = this.map.getBounds();
    const whole = bounds.getEast() - bounds.getWest() >= 360;
    const around = (value: number) => (((value + 180) % 360) + 360) % 360 - 180;
    return [
      whole ? -180 : around(bounds.getWest()),
      Math.max(-90, bounds.getSouth()),
      whole ? 180 : around(bounds.getEast()),
      Math.min(90, bounds.getNorth()),
    ];
  }

  setCamera({ center, zoom }: Camera): void {
    this.map.setView([center[1], center[0]], zoom);
  }

  fit([west, south, east, north]: Box, closest = 13): void {
    this.map.fitBounds(
      [
        [south, west],
        [north, east < west ? east + 360 : east],
      ],
      { padding: [24, 24], maxZoom: closest },
    );
  }

  zoom(by: 1 | -1): void {
    this.map.setZoom(this.map.getZoom() + by);
  }

  setArea(area: Area | null): void {
    this.area = area;
    const turned = area ? polygonsOf(area).map((polygon) => polygon.map((ring) => ring.map(([x = 0, y = 0]) => L.latLng(y, x)))) : [];
    this.areaLayer.setLatLngs(turned);
    this.drawing.areaIs(area);
  }

  draw(mode: "rectangle" | "polygon" | "edit" | null): void {
    this.drawing.start(mode, this.area);
  }

  setFootprints(footprints: Parameters<MapPort["setFootprints"]>[0]): void {
    this.footprints.set(footprints);
  }

  mark(marks: Parameters<MapPort["mark"]>[0]): void {
    this.footprints.mark(marks);
  }

  setRasters(rasters: readonly Raster[]): void {
    const kept = new Map(this.rasters.map((layer) => [layer.raster.id, layer]));
    this.rasters = rasters.map((raster) => kept.get(raster.id) ?? new RasterLayer(raster).addTo(this.map));
    for (const layer of kept.values()) if (!this.rasters.includes(layer)) layer.remove();
    for (const [index, layer] of this.rasters.entries()) {
      layer.setZIndex(index + 1);
      layer.setOpacity(rasters[index]?.opacity ?? 1);
    }
    this.clip();
  }

  setSwipe(position: number | null): void {
    this.swipe = position;
    this.clip();
  }

  setBasemap(url: string, attribution: string): void {
    this.basemap?.remove();
    this.labels.remove();
    const { attributionControl } = this.map;
    if (this.attribution) attributionControl.removeAttribution(this.attribution);
    // As text: an attribution is configured, but nothing becomes HTML here.
    const text = document.createElement("span");
    text.textContent = url ? attribution : OWN_BASEMAP;
    this.attribution = text.innerHTML;
    if (this.attribution) attributionControl.addAttribution(this.attribution);
    if (url) {
      this.basemap = L.tileLayer(url, { maxZoom: 19 });
    } else {
      this.basemap = new BasemapTiles(this.colours);
      this.map.addLayer(this.labels);
    }
    this.map.addLayer(this.basemap);
  }

  resized(): void {
    this.map.invalidateSize({ animate: false });
  }

  recolour(): void {
    this.colours = coloursAt(this.element);
    if (this.basemap instanceof BasemapTiles) this.basemap.recolour(this.colours);
    this.labels.repaint();
    this.footprints.layer.repaint();
    this.footprints.markLayer.repaint();
  }

  dispose(): void {
    this.drawing.stop();
    this.map.remove();
  }

  private listen(): void {
    const { map, events } = this;
    map.on("moveend", () => {
      const { lng, lat } = map.getCenter();
      events.moved({ center: [lng, lat], zoom: map.getZoom() }, this.bounds);
    });
    let waiting = false;
    let place: L.LatLng | null = null;
    let over: string | null = null;
    const look = () => {
      waiting = false;
      events.pointed?.(place && [place.lng, place.lat]);
      // Of a density no single outline is meant, and none while the map is moved.
      const still = !this.drawing.active && !this.footprints.dense && !(map.dragging as L.Handler & { moving(): boolean }).moving();
      const ref = place && still ? (this.footprints.at([place.lng, place.lat])[0] ?? null) : null;
      if (ref !== over) events.hovered((over = ref));
      if (!this.drawing.active) this.element.style.cursor = ref ? "pointer" : "";
    };
    const soon = (latlng: L.LatLng | null) => {
      place = latlng;
      if (!waiting) requestAnimationFrame(look);
      waiting = true;
    };
    map.on("mousemove", ({ latlng }) => soon(latlng));
    map.on("mouseout", () => soon(null));
    map.on("click", ({ latlng, originalEvent }) => {
      if (!this.drawing.takes(originalEvent)) events.clicked(this.footprints.at([latlng.lng, latlng.lat]), [latlng.lng, latlng.lat]);
    });
    map.on("move zoomend resize", () => this.clip());
  }

  /** Cut the two pictures at the line between them. */
  private clip(): void {
    const { x: width, y: height } = this.map.getSize();
    const at = (this.swipe ?? 0) * width;
    const cut = (from: number, to: number) => {
      const corners: [number, number][] = [
        [from, 0],
        [to, 0],
        [to, height],
        [from, height],
      ];
      return `polygon(${corners
        .map((corner) => this.map.containerPointToLayerPoint(corner))
        .map(({ x, y }) => `${x}px ${y}px`)
        .join(", ")})`;
    };
    for (const [index, layer] of this.rasters.entries()) {
      const container = layer.getContainer();
      if (!container) continue;
      const both = this.swipe === null || index > 1;
      container.style.clipPath = both ? "" : index === 0 ? cut(0, at) : cut(at, width);
    }
  }
}

export const leafletMap: MakeMap = (element, camera, events, words) => new LeafletMap(element, camera, events, words);
