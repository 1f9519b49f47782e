"""What the Dagster UI shows on a materialisation: maps, contact sheets, curves, tables.

Each stays below about 60 kB, because it travels inside the event log. No text in Japanese: the server may have no font for it.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_pipeline.orchestration.showing.maps import GREEN, LINE, LONGEST_PX, PASTEL, RED, STRONG, Canvas, category_colours

WIDTH_IN, HEIGHT_IN, DPI = 7.2, 3.5, 90
COLOURS, COLOURS_OF_PHOTOS = 96, 240  # of a PNG
CONTACTS = 5


@dataclass(frozen=True)
class Bars:
    """A bar chart beside a map.

    Attributes:
        labels: Below each bar, or beside it.
        heights: Of each bar.
        x_label: What the labels say, with its unit.
        y_label: What the heights count.
        note: A line above it.
        is_lying: Drawn sideways, for long labels; heights are percent then.
    """

    labels: Sequence[str]
    heights: Sequence[float]
    x_label: str
    y_label: str
    note: str = ""
    is_lying: bool = False


def draw_map(
    *, areas: Any = None, lines: Any = None, points: Any = None, colour_by: str = "", bars: Bars | None = None
) -> bytes | None:
    """Return a map as PNG, with a chart beside it where one is given.

    Args:
        areas: Polygons in WGS 84, drawn first, as one land with an outline.
        lines: Lines in WGS 84.
        points: Points in WGS 84, drawn last.
        colour_by: Column of the points (or else the areas) whose values get colours.
        bars: What stands beside the map.

    Returns:
        PNG bytes; None when there is nothing to draw.
    """
    import numpy as np
    import shapely

    layers = {name: layer for name, layer in (("areas", areas), ("lines", lines), ("points", points)) if _has_rows(layer)}
    if not layers:
        return None
    boxes = shapely.bounds(next(iter(layers.values())).geometry.to_numpy())  # the first layer says what is shown
    canvas = Canvas.around(boxes[~np.isnan(boxes[:, 0])].reshape(-1, 2))
    coloured = [name for name in ("points", "areas") if name in layers and colour_by in layers[name].columns][:1]
    for name, layer in layers.items():
        geometry, colours = layer.geometry.to_numpy(), None
        if name in coloured:
            colours = category_colours(layer[colour_by], STRONG if name == "points" else PASTEL)
        if name == "areas":
            canvas.paint_areas(geometry, colours=colours)
        elif name == "lines":
            canvas.paint_lines(geometry)
        else:
            canvas.paint_points(shapely.get_coordinates(geometry), colours=colours)
    name, layer = list(layers.items())[-1]
    words = f"{len(layer):,} {name}"
    if name == "points" and (outside := canvas.outside(shapely.get_coordinates(layer.geometry.to_numpy()))):
        words += f", {outside:,} of them beyond the edges"
    figure = _figure(width_in=WIDTH_IN if bars else WIDTH_IN * 0.65)
    map_axes, *rest = figure.subplots(1, 2, width_ratios=(1.5, 1), squeeze=False)[0] if bars else (figure.subplots(),)
    _show(map_axes, canvas, words)
    if bars:
        _draw_bars(rest[0], bars)
    return _png(figure)


def _has_rows(layer: Any) -> bool:
    return layer is not None and len(layer) > 0


def _show(axes: Any, canvas: Canvas, words: str) -> None:
    """Show a painted canvas with degrees at its edges."""
    from matplotlib.ticker import MaxNLocator

    extent = (canvas.west, canvas.east, canvas.south, canvas.north)
    axes.imshow(canvas.pixels, extent=extent, aspect=canvas.aspect, interpolation="antialiased")
    axes.set_title(words, fontsize=8, loc="left")
    axes.set_xlabel("longitude, degrees east", fontsize=7)
    axes.set_ylabel("latitude, degrees north", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(max(1, 4 * canvas.pixels.shape[1] // LONGEST_PX)))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(labelsize=7)


def _draw_bars(axes: Any, bars: Bars) -> None:
    at = range(len(bars.labels))
    if bars.is_lying:
        shown = axes.barh(at, bars.heights, color="#146c86", height=0.62)
        axes.set_yticks(at, bars.labels)
        axes.invert_yaxis()
        axes.set_xlim(0, 118)
        axes.set_xticks(range(0, 101, 25))
        axes.bar_label(shown, fmt="%.0f %%", fontsize=7, padding=3)
    else:
        axes.bar(at, bars.heights, color="#146c86", width=0.82)
        axes.set_xticks(at, bars.labels)
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_title(bars.note, fontsize=8, loc="left")
    axes.set_xlabel(bars.y_label if bars.is_lying else bars.x_label, fontsize=7)
    axes.set_ylabel("" if bars.is_lying else bars.y_label, fontsize=7)
    axes.tick_params(labelsize=7, length=2)
    axes.spines[["top", "right"]].set_visible(False)


def draw_spacing(points: Any, towns: Any) -> bytes | None:
    """Return points over their prefecture, beside them how far apart those of one feature stand, as PNG.

    Args:
        points: `ROAD_POINTS` or `LANDMARK_POINTS`.
        towns: `CENSUS_TOWNS`.

    Returns:
        PNG bytes; None when there is nothing to draw.
    """
    import numpy as np

    edges_km = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0])
    spacing_km = points["spacing_m"].to_numpy(dtype=np.float64) / 1000
    apart = spacing_km[spacing_km > 0]
    counts = np.histogram(np.minimum(apart, edges_km[-1]), bins=edges_km)[0]
    lone = len(spacing_km) - len(apart)
    bars = Bars(
        labels=[f"{edge:g}" for edge in edges_km[:-1]],
        heights=counts.tolist(),
        x_label="interval from ... km on, 0.5 km a bar",
        y_label="points",
        note=f"{len(apart):,} at intervals, {lone:,} alone",
    )
    return draw_map(areas=towns, points=points, bars=bars)


def draw_clusters(sample_points: Any, towns: Any) -> bytes | None:
    """Return sample points over their prefecture, beside them how many points each stands for, as PNG.

    Args:
        sample_points: `SAMPLE_POINTS`.
        towns: `CENSUS_TOWNS`.

    Returns:
        PNG bytes; None when there is nothing to draw.
    """
    import numpy as np

    steps = np.array([1, 2, 3, 5, 9, 17, 33])
    counts = np.bincount(np.searchsorted(steps, sample_points["n_members"].to_numpy(), side="right") - 1, minlength=len(steps))
    bars = Bars(
        labels=["1", "2", "3-4", "5-8", "9-16", "17-32", "33+"],
        heights=counts.tolist(),
        x_label="road and landmark points in a cluster",
        y_label="clusters",
        note=f"for {int(sample_points['n_members'].sum()):,} road and landmark points",
    )
    return draw_map(areas=towns, points=sample_points, bars=bars)


def draw_labels(labelled: Any, towns: Any) -> bytes | None:
    """Return labelled pictures over their prefecture, coloured by municipality, beside them the share with each label, as PNG.

    Args:
        labelled: `LABELLED_IMAGES`.
        towns: `CENSUS_TOWNS`.

    Returns:
        PNG bytes; None when there is nothing to draw.
    """
    names = ("municipality_code", "town_code", "road_id", "landmark_id")
    bars = Bars(
        labels=[name.rsplit("_", 1)[0] for name in names],
        heights=[100.0 * float(labelled[name].notna().mean()) if len(labelled) else 0.0 for name in names],
        x_label="label",
        y_label="% of pictures that have the label",
        note=f"{len(labelled):,} pictures",
        is_lying=True,
    )
    return draw_map(areas=towns, points=labelled, colour_by="municipality_code", bars=bars)


def draw_contact_sheet(images: Any, folder: Path, *, width_px: int = 256, across: int = 2) -> bytes | None:
    """Return up to `CONTACTS` rows of pictures of an image table, evenly spread over it, as one PNG; None when there are none.

    Args:
        images: A manifest of an image table, or of training views.
        folder: The folder of its shards.
        width_px: Of one picture on the sheet.
        across: Pictures in a row.

    Returns:
        PNG bytes.
    """
    import cv2

    if not len(images):
        return None
    sheet = _contact_sheet(images, folder, width_px=width_px, across=across)
    return cv2.imencode(".png", _fewer_colours(sheet), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def _contact_sheet(images: Any, folder: Path, *, width_px: int, across: int) -> Any:
    """Return the pixels of a contact sheet, BGR."""
    import cv2
    import numpy as np

    from geoloc_pipeline.storage.shards import read_member

    chosen = images.iloc[np.unique(np.linspace(0, len(images) - 1, CONTACTS * across).astype(int))]
    height_px = width_px // 4 if across <= 2 else width_px
    tiles = []
    for row in chosen.itertuples():
        data = read_member(folder, shard=row.shard, offset=row.offset, size_bytes=row.size_bytes)
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
        tiles.append(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across)
    return np.vstack([np.hstack(tiles[index : index + across]) for index in range(0, len(tiles), across)])


def draw_pictures(images: Any, folder: Path, sample_points: Any) -> bytes | None:
    """Return where there are pictures and where there is none, beside it some of them, as PNG.

    Args:
        images: `STREET_VIEW_IMAGES`.
        folder: The folder of its shards.
        sample_points: `SAMPLE_POINTS`.

    Returns:
        PNG bytes; None when there is neither point nor picture.
    """
    import numpy as np
    import shapely

    if not len(images) and not len(sample_points):
        return None
    without = sample_points[~sample_points["point_id"].isin(images["point_id"])]
    layers = [(without, RED), (images[images["is_wanted"]], GREEN), (images[~images["is_wanted"]], LINE)]
    lonlat = np.concatenate([shapely.get_coordinates(layer.geometry.to_numpy()) for layer, _ in layers])
    colours = np.repeat(np.array([colour for _, colour in layers], dtype=np.uint8), [len(layer) for layer, _ in layers], axis=0)
    canvas = Canvas.around(lonlat)
    canvas.paint_points(lonlat, colours=colours)
    figure = _figure()
    map_axes, sheet_axes = figure.subplots(1, 2, width_ratios=(1, 1))
    counts = [len(layer) for layer, _ in layers]
    words = f"green: {counts[1]:,} pictures, red: {counts[0]:,} points without"
    _show(map_axes, canvas, words + (f",\ngrey: {counts[2]:,} of vanished points" if counts[2] else ""))
    sheet_axes.set_axis_off()
    if len(images):
        sheet_axes.imshow(_contact_sheet(images, folder, width_px=300, across=1)[..., ::-1])
        sheet_axes.set_title("some of the pictures: north, east, south, west", fontsize=8, loc="left")
    return _png(figure, colours=COLOURS_OF_PHOTOS)


def _fewer_colours(picture: Any) -> Any:
    """Return the picture with 5 bits a channel: a third of the PNG's bytes, and a preview loses nothing by it."""
    return picture & 0xF8


def draw_scatter(embeddings: Any) -> bytes | None:
    """Return embeddings on their two main axes as PNG, coloured by latitude: places that lie together shall have one colour.

    Args:
        embeddings: `IMAGE_EMBEDDINGS`.

    Returns:
        PNG bytes; None for fewer than three rows.
    """
    import numpy as np

    if len(embeddings) < 3:
        return None
    vectors = np.stack(embeddings["embedding"].to_list()).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    axes_of_variance = np.linalg.svd(vectors, full_matrices=False)[2][:2]
    figure = _figure()
    axes = figure.subplots()
    x, y = (vectors @ axes_of_variance.T).T
    shown = axes.scatter(x, y, c=embeddings["lat"], s=5, cmap="viridis")
    figure.colorbar(shown, label="latitude")
    axes.set_xlabel("first axis of variance")
    axes.set_ylabel("second")
    return _png(figure)


def draw_curves(history: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Return what a training run did by epoch, as PNG: the whole loss, each of its terms, and the right answers.

    A point marks the epoch that was kept. Paper fig. 6 is the first panel.

    Args:
        history: The lines of `metrics.jsonl`: `epoch` from 0, `train_loss`, `train_terms`, and `val_loss`, `val_terms`,
            `val_accuracy` where there was something to validate with.

    Returns:
        PNG bytes; None when there is no history.
    """
    if not history:
        return None
    epochs = [row["epoch"] + 1 for row in history]
    kept = min(range(len(history)), key=lambda number: history[number].get("val_loss", -number))
    terms = list(dict.fromkeys(name for row in history for name in row.get("train_terms", {})))
    tasks = list(dict.fromkeys(name for row in history for name in row.get("val_accuracy", {})))
    across = min(3, 1 + len(terms) + bool(tasks))
    down = -(-(1 + len(terms) + bool(tasks)) // across)
    figure = _figure(height_in=1.75 * down)
    panels = iter(figure.subplots(down, across, squeeze=False).flat)
    whole = {side: [row.get(f"{side}_loss") for row in history] for side in ("train", "val")}
    _draw_panel(next(panels), "loss, all terms (val: heads)", epochs, whole, kept=kept)
    for term in terms:
        sides = {side: [row.get(f"{side}_terms", {}).get(term) for row in history] for side in ("train", "val")}
        _draw_panel(next(panels), f"loss, {term}", epochs, sides, kept=kept)
    if tasks:
        right = {task: [100 * row.get("val_accuracy", {}).get(task, math.nan) for row in history] for task in tasks}
        crowded = next(panels)
        _draw_panel(crowded, "right in validation, %", epochs, right, kept=kept)
    for number, empty in enumerate(panels):
        empty.set_axis_off()
        if tasks and number == 0:  # five names would hide the lines
            empty.legend(*crowded.get_legend_handles_labels(), loc="center left", frameon=False, fontsize=7)
            crowded.get_legend().remove()
    return _png(figure)


def _draw_panel(axes: Any, title: str, epochs: list[int], lines: Mapping[str, Sequence[Any]], *, kept: int) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, values in lines.items():
        told = [math.nan if value is None else value for value in values]
        if any(map(math.isfinite, told)):
            (line,) = axes.plot(epochs, told, label=name, linewidth=1.3, marker="." if len(epochs) == 1 else None)
            axes.plot(epochs[kept], told[kept], "o", markersize=3.5, color=line.get_color())
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_xlabel("epoch", fontsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.legend(frameon=False, fontsize=6.5)


def write_rows(frame: Any, *, most: int = 12) -> str:
    """Return the first rows of a table as Markdown; long texts and numbers are shortened.

    Args:
        frame: Any table.
        most: How many rows.

    Returns:
        A Markdown table, and how many rows are not shown.
    """
    names = [str(name) for name in frame.columns]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in frame.head(most).itertuples(index=False)]
    rest = len(frame) - most
    return "\n".join([*lines, "", f"and {rest:,} more rows"] if rest > 0 else lines)


def _cell(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return (text if len(text) <= 32 else text[:31] + "…").replace("|", "/").replace("\n", " ")


def _figure(*, width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def _png(figure: Any, *, colours: int = COLOURS) -> bytes:
    """Return a figure as a PNG of few colours: a third of the bytes, and a preview loses nothing by it."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas, stream = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()  # `savefig` would draw twice, and write a PNG that would have to be read again
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    drawn.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()
