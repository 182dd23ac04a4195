"""The one picture of a demo run: true colour, change map with legend, time series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.patches import Patch

mpl.use("Agg")

Floats = npt.NDArray[np.floating]

INK = "#1d2733"
QUIET = "#5c6b7a"
WETTER = "#0d6fb8"
DRIER = "#b3541e"


@dataclass(frozen=True)
class Series:
    """MNDWI of one pixel: every clear or cloudy image, and the composite of each interval."""

    name: str
    colour: str
    column: int
    row: int
    times: Sequence[datetime]
    values: Sequence[float]
    composite_times: Sequence[datetime]
    composites: Sequence[float]


@dataclass(frozen=True)
class Scene:
    """What the picture shows.

    :param true_colour: (height, width, 3), reflectance red, green, blue.
    :param change: (height, width), masked slope, NaN where nothing changed.
    :param bounds: (left, bottom, right, top) in metres of the CRS ``crs``.
    """

    title: str
    subtitle: str
    true_colour: Floats
    change: Floats
    bounds: tuple[float, float, float, float]
    crs: str
    unit: str
    series: Sequence[Series]
    footer: str


def _stretched(values: Floats) -> Floats:
    low, high = np.nanpercentile(values, (1, 99))
    stretched: Floats = np.clip((values - low) / max(high - low, 1e-6), 0, 1) ** 0.8
    return np.nan_to_num(stretched, nan=1.0)


def _map_axes(axes: Axes, scene: Scene, title: str) -> tuple[float, float, float, float]:
    left, bottom, right, top = (value / 1000 for value in scene.bounds)
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(f"Easting, km ({scene.crs})", color=QUIET, fontsize=9)
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(labelsize=8, colors=QUIET)
    for spine in axes.spines.values():
        spine.set_color("#c4ccd4")
    bar = 1.0 if right - left > 2 else 0.2
    y = bottom + 0.045 * (top - bottom)
    x = right - 0.05 * (right - left) - bar
    axes.plot([x, x + bar], [y, y], color="white", linewidth=5, solid_capstyle="butt", zorder=5)
    axes.plot([x, x + bar], [y, y], color=INK, linewidth=2.5, solid_capstyle="butt", zorder=6)
    label = f"{bar:g} km" if bar >= 1 else f"{bar * 1000:g} m"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 1.5}
    axes.text(
        x + bar / 2, y + 0.02 * (top - bottom), label, ha="center", va="bottom", fontsize=8,
        color=INK, bbox=box, zorder=6,
    )  # fmt: skip
    return left, right, bottom, top


def draw(scene: Scene, path: Path) -> None:
    """Write the picture as PNG, 1600 x 900 pixels."""
    figure = plt.figure(figsize=(16, 9), dpi=100, facecolor="white")
    grid = figure.add_gridspec(
        2, 3, width_ratios=(1, 1, 0.95), height_ratios=(1, 1),
        left=0.045, right=0.985, top=0.86, bottom=0.105, wspace=0.2, hspace=0.34,
    )  # fmt: skip
    figure.text(0.045, 0.945, scene.title, fontsize=18, color=INK, fontweight="bold")
    figure.text(0.045, 0.91, scene.subtitle, fontsize=11.5, color=QUIET)
    figure.text(0.045, 0.025, scene.footer, fontsize=9, color=QUIET)

    left_axes = figure.add_subplot(grid[:, 0], anchor="N")
    extent = _map_axes(left_axes, scene, "True colour, clear image")
    left_axes.imshow(_stretched(scene.true_colour), extent=extent, interpolation="nearest")
    left_axes.set_ylabel("Northing, km", color=QUIET, fontsize=9)

    right_axes = figure.add_subplot(grid[:, 1], anchor="N")
    extent = _map_axes(right_axes, scene, "Where water came and went")
    grey = np.nanmean(_stretched(scene.true_colour), axis=2)
    right_axes.imshow(
        0.35 + 0.6 * grey, extent=extent, cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    limit = float(np.nanmax(np.abs(scene.change))) if np.isfinite(scene.change).any() else 1.0
    norm = TwoSlopeNorm(vcenter=0, vmin=-limit, vmax=limit)
    image = right_axes.imshow(
        scene.change, extent=extent, cmap="turbo_r", norm=norm, interpolation="nearest"
    )
    bar = figure.colorbar(
        image, cax=right_axes.inset_axes((0, -0.17, 1, 0.035)), orientation="horizontal"
    )
    bar.set_label(f"Change of rescaled MNDWI per {scene.unit}", fontsize=9, color=QUIET)
    bar.ax.tick_params(labelsize=8, colors=QUIET)
    share = np.isfinite(scene.change).mean() * 100
    handles = [
        Patch(color=mpl.colormaps["turbo_r"](0.9), label="drier to wetter (+)"),
        Patch(color=mpl.colormaps["turbo_r"](0.1), label="wetter to drier (−)"),
        Patch(color="#b8b8b8", label=f"no change kept ({100 - share:.0f} %)"),
    ]
    right_axes.legend(handles=handles, loc="upper left", fontsize=8, framealpha=0.9)

    chart = figure.add_subplot(grid[0, 2])
    chart.set_title("One pixel of each kind", loc="left", fontsize=11, color=INK, fontweight="bold")
    for series in scene.series:
        x = extent[0] + (series.column + 0.5) / scene.change.shape[1] * (extent[1] - extent[0])
        y = extent[3] - (series.row + 0.5) / scene.change.shape[0] * (extent[3] - extent[2])
        for axes in (left_axes, right_axes):
            axes.plot(
                x, y, "o", markersize=9, markerfacecolor=series.colour,
                markeredgecolor="white", markeredgewidth=1.8, zorder=7,
            )  # fmt: skip
        chart.plot(
            date2num(series.times),
            series.values,
            ".",
            color=series.colour,
            alpha=0.45,
            markersize=6,
        )
        chart.plot(
            date2num(series.composite_times), series.composites, "-D", color=series.colour,
            linewidth=2, markersize=6, label=series.name,
        )  # fmt: skip
    chart.xaxis_date()
    chart.axhline(0, color="#c4ccd4", linewidth=1, zorder=0)
    chart.set_ylabel("MNDWI", fontsize=9, color=QUIET)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    chart.xaxis.set_major_locator(locator)
    chart.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    chart.tick_params(labelsize=8, colors=QUIET)
    if scene.series:
        chart.legend(fontsize=8, framealpha=0.9)
    chart.text(
        0, -0.2, "dots: single images, clouds included; diamonds: 20th-percentile composites",
        transform=chart.transAxes, fontsize=8, color=QUIET,
    )  # fmt: skip

    histogram = figure.add_subplot(grid[1, 2])
    histogram.set_title(
        "How much changed, and by how much", loc="left", fontsize=11, color=INK, fontweight="bold"
    )
    kept = scene.change[np.isfinite(scene.change)]
    if kept.size:
        edges = np.linspace(-limit, limit, 41)
        cell = (
            (scene.bounds[2] - scene.bounds[0])
            / scene.change.shape[1]
            * (scene.bounds[3] - scene.bounds[1])
            / scene.change.shape[0]
            / 1e4
        )
        counts, _ = np.histogram(kept, edges)
        centres = (edges[:-1] + edges[1:]) / 2
        colours = mpl.colormaps["turbo_r"](norm(centres))
        histogram.bar(centres, counts * cell, width=edges[1] - edges[0], color=colours)
        histogram.margins(y=0.18)
        drier, wetter = (kept < 0).sum() * cell, (kept > 0).sum() * cell
        histogram.text(
            0.02, 0.98, f"drier: {drier:.0f} ha", transform=histogram.transAxes, fontsize=9,
            color=DRIER, va="top",
        )  # fmt: skip
        histogram.text(
            0.98, 0.98, f"wetter: {wetter:.0f} ha", transform=histogram.transAxes, fontsize=9,
            color=WETTER, va="top", ha="right",
        )  # fmt: skip
    else:
        histogram.text(
            0.5, 0.5, "no pixel passed all four conditions", transform=histogram.transAxes,
            ha="center", fontsize=10, color=QUIET,
        )  # fmt: skip
    histogram.set_xlabel(f"Change of rescaled MNDWI per {scene.unit}", fontsize=9, color=QUIET)
    histogram.set_ylabel("Area, ha", fontsize=9, color=QUIET)
    histogram.tick_params(labelsize=8, colors=QUIET)
    for axes in (chart, histogram):
        axes.spines[["top", "right"]].set_visible(False)
    left_axes.set_anchor("N")
    right_axes.set_anchor("N")
    figure.savefig(path)
    plt.close(figure)
