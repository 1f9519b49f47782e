"""What the Dagster UI shows on a materialisation: maps, contact sheets, curves, tables.

Each stays below about 60 kB, because it travels inside the event log. No text in Japanese: the server may have no font for it.
"""

import io
from pathlib import Path
from typing import Any

WIDTH_IN, HEIGHT_IN, DPI = 5.2, 3.6, 90
CONTACTS = 5


def draw_map(*, areas: Any = None, lines: Any = None, points: Any = None, colour_by: str = "") -> bytes | None:
    """Return a map as PNG.

    Args:
        areas: Polygons in WGS 84, drawn first.
        lines: Lines in WGS 84.
        points: Points in WGS 84, drawn last.
        colour_by: Column of the points (or else the areas) whose values get colours.

    Returns:
        PNG bytes; None when there is nothing to draw.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    layers = [layer for layer in (areas, lines, points) if layer is not None and len(layer)]
    if not layers:
        return None
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    coloured = colour_by and colour_by in (points if points is not None else areas).columns
    if areas is not None and len(areas):
        own = {"column": colour_by, "cmap": "Pastel1"} if coloured and points is None else {"color": "#f3efe6"}
        areas.plot(ax=axes, edgecolor="#b9b2a3", linewidth=0.3, **own)
    if lines is not None and len(lines):
        lines.plot(ax=axes, color="#8a94a6", linewidth=0.4)
    if points is not None and len(points):
        own = {"column": colour_by, "cmap": "tab20"} if coloured else {"color": "#c2410c"}
        points.plot(ax=axes, markersize=3, alpha=0.8, **own)
    axes.set_xlabel("longitude")
    axes.set_ylabel("latitude")
    axes.tick_params(labelsize=7)
    with mpl.rc_context({"font.size": 8}):
        return _png(figure)


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
    import numpy as np

    from geoloc_pipeline.storage.shards import read_member

    if not len(images):
        return None
    chosen = images.iloc[np.unique(np.linspace(0, len(images) - 1, CONTACTS * across).astype(int))]
    height_px = width_px // 4 if across == 2 else width_px
    tiles = []
    for row in chosen.itertuples():
        data = read_member(folder, shard=row.shard, offset=row.offset, size_bytes=row.size_bytes)
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
        tiles.append(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across)
    rows = [np.hstack(tiles[index : index + across]) for index in range(0, len(tiles), across)]
    return cv2.imencode(".png", _fewer_colours(np.vstack(rows)), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


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
    from matplotlib.figure import Figure

    if len(embeddings) < 3:
        return None
    vectors = np.stack(embeddings["embedding"].to_list()).astype(np.float64)
    vectors -= vectors.mean(axis=0)
    axes_of_variance = np.linalg.svd(vectors, full_matrices=False)[2][:2]
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    x, y = (vectors @ axes_of_variance.T).T
    shown = axes.scatter(x, y, c=embeddings["lat"], s=5, cmap="viridis")
    figure.colorbar(shown, label="latitude")
    axes.set_xlabel("first axis of variance")
    axes.set_ylabel("second")
    return _png(figure)


def draw_curves(history: list[dict[str, float]], names: tuple[str, ...]) -> bytes | None:
    """Return curves over epochs as PNG.

    Args:
        history: One dictionary an epoch, with `epoch` in it.
        names: Which values to draw; those that are absent are left out.

    Returns:
        PNG bytes; None when there is no history.
    """
    from matplotlib.figure import Figure

    if not history:
        return None
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    for name in names:
        told = [(row["epoch"], row[name]) for row in history if name in row]
        if told:
            axes.plot(*zip(*told, strict=True), label=name, linewidth=1.5)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, fontsize=8)
    return _png(figure)


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


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
