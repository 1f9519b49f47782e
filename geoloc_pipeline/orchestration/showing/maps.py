"""Maps painted into pixels: a hundred thousand points over twenty thousand town blocks in a fraction of a second.

Belongs here: the part of the Earth that a small map shows, and areas, lines and points painted onto it with numpy and OpenCV.
Does not belong here: what stands beside the map, and PNG (`previews.py`).
"""

from dataclasses import dataclass
from typing import Any

LONGEST_PX = 760  # twice what is shown, so that edges come out smooth
SEA, LAND, EDGE, LINE, POINT = (250, 250, 248), (240, 235, 224), (176, 167, 148), (128, 138, 156), (194, 65, 12)
PASTEL = (
    (251, 180, 174), (179, 205, 227), (204, 235, 197), (222, 203, 228), (254, 217, 166), (255, 255, 204), (229, 216, 189),
)  # fmt: skip
BLUE, ORANGE, GREEN, RED = (31, 119, 180), (214, 99, 20), (44, 140, 60), (176, 42, 48)
STRONG = (BLUE, ORANGE, GREEN, RED, (116, 82, 160), (122, 78, 66), (190, 80, 160), (23, 150, 165))


DISCS = ((100, 7), (600, 5), (3_000, 3), (20_000, 2), (float("inf"), 1))
"""Fewer points than this are discs of this radius in pixels."""


@dataclass
class Canvas:
    """Pixels that show a part of the Earth, equal distances alike in both directions at its middle latitude.

    Attributes:
        west: Degrees at the left edge.
        south: Degrees at the lower edge.
        east: Degrees at the right edge.
        north: Degrees at the upper edge.
        aspect: Length of a degree of latitude in degrees of longitude.
        pixels: `[height, width, 3]` uint8, RGB, north up.
    """

    west: float
    south: float
    east: float
    north: float
    aspect: float
    pixels: Any

    @classmethod
    def around(cls, lonlat: Any) -> "Canvas":
        """Return the canvas on which most of the places are seen: far islands with few of them may lie outside.

        Args:
            lonlat: `[n, 2]` degrees, n at least 1.

        Returns:
            A canvas without anything on it.
        """
        import numpy as np

        most = np.quantile(lonlat, [0.02, 0.98], axis=0)
        room = 0.35 * (most[1] - most[0])
        is_near = ((lonlat >= most[0] - room) & (lonlat <= most[1] + room)).all(axis=1)
        near = lonlat[is_near] if is_near.any() else lonlat
        (west, south), (east, north) = near.min(axis=0), near.max(axis=0)
        aspect = 1.0 / max(0.05, float(np.cos(np.radians((south + north) / 2))))
        rim = max(0.04 * (east - west), 0.04 * (north - south) * aspect, 0.002)
        west, east, south, north = west - rim, east + rim, south - rim / aspect, north + rim / aspect
        px_per_deg = LONGEST_PX / max(east - west, (north - south) * aspect)
        size = round((north - south) * aspect * px_per_deg), round((east - west) * px_per_deg), 3
        return cls(float(west), float(south), float(east), float(north), aspect, np.full(size, SEA, dtype=np.uint8))

    def xy(self, lonlat: Any) -> Any:
        """Return `[n, 2]` int32 pixels (x to the right, y down) of places `[n, 2]` in degrees."""
        import numpy as np

        height, width = self.pixels.shape[:2]
        x = (lonlat[:, 0] - self.west) / (self.east - self.west) * width
        y = (self.north - lonlat[:, 1]) / (self.north - self.south) * height
        return np.clip(np.floor(np.column_stack([x, y])), -30_000, 30_000).astype(np.int32)

    def outside(self, lonlat: Any) -> int:
        """Return how many places lie beyond the edges."""
        xy = self.xy(lonlat)
        return len(xy) - int(self._inside(xy).sum())

    def _inside(self, xy: Any) -> Any:
        height, width = self.pixels.shape[:2]
        return (xy[:, 0] >= 0) & (xy[:, 0] < width) & (xy[:, 1] >= 0) & (xy[:, 1] < height)

    def paint_areas(self, areas: Any, *, colours: Any = None) -> None:
        """Paint polygons as one land with an outline.

        Args:
            areas: `[n]` shapely polygons or multipolygons, degrees.
            colours: `[n, 3]` RGB; None: all alike.
        """
        import cv2
        import numpy as np
        import shapely

        if colours is None:
            colours = np.tile(np.array(LAND, dtype=np.uint8), (len(areas), 1))
        parts, of_area = shapely.get_parts(areas, return_index=True)
        lonlat, of_ring = shapely.get_coordinates(shapely.get_exterior_ring(parts), return_index=True)
        xy = self.xy(lonlat)
        first = np.flatnonzero(np.diff(of_ring, prepend=-1))
        ends = np.append(first[1:], len(xy))
        paint = colours[of_area[of_ring[first]]]
        is_dot = (np.maximum.reduceat(xy, first) - np.minimum.reduceat(xy, first)).max(axis=1) <= 1
        land = np.zeros(self.pixels.shape[:2], dtype=np.uint8)
        for number in np.flatnonzero(~is_dot):
            ring = xy[first[number] : ends[number]]
            cv2.fillPoly(land, [ring], 255)
            cv2.fillPoly(self.pixels, [ring], paint[number].tolist())
        dots = np.repeat(is_dot, ends - first) & self._inside(xy)  # areas of a pixel or less: most of a large city's
        land[xy[dots, 1], xy[dots, 0]] = 255
        self.pixels[xy[dots, 1], xy[dots, 0]] = np.repeat(paint, ends - first, axis=0)[dots]
        closed = cv2.morphologyEx(land, cv2.MORPH_CLOSE, np.ones((3, 3), dtype=np.uint8))  # slits between blocks are no coast
        outline = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        cv2.drawContours(self.pixels, outline, -1, EDGE, 1)

    def paint_lines(self, lines: Any) -> None:
        """Paint shapely lines `[n]` in degrees; the more of them run through a pixel, the darker it is."""
        import shapely

        step_deg = (self.east - self.west) / self.pixels.shape[1]
        self._shade(self.xy(shapely.get_coordinates(shapely.segmentize(lines, step_deg))), LINE)

    def paint_points(self, lonlat: Any, *, colours: Any = None) -> None:
        """Paint places as discs, small ones when there are many, and as shades when there are too many for discs.

        Args:
            lonlat: `[n, 2]` degrees.
            colours: `[n, 3]` RGB; None: all alike.
        """
        import numpy as np

        reach = next(reach for most, reach in DISCS if len(lonlat) < most)
        xy, around = self.xy(lonlat), range(-reach, reach + 1)
        steps = [(right, down) for down in around for right in around if down * down + right * right <= reach * reach]
        if colours is None and reach == 1:
            self._shade(np.concatenate([xy + np.array(step, dtype=np.int32) for step in steps]), POINT)
            return
        paint = np.tile(np.array(POINT, dtype=np.uint8), (len(xy), 1)) if colours is None else colours
        for step in steps:
            at = xy + np.array(step, dtype=np.int32)
            seen = self._inside(at)
            self.pixels[at[seen, 1], at[seen, 0]] = paint[seen]

    def _shade(self, xy: Any, colour: tuple[int, int, int]) -> None:
        """Shade the pixels: the more often one is named, the more it is covered."""
        import numpy as np

        xy = xy[self._inside(xy)]
        crowd = np.bincount(xy[:, 1] * self.pixels.shape[1] + xy[:, 0], minlength=self.pixels[..., 0].size)
        if not crowd.any():
            return
        most = max(3.0, float(np.quantile(crowd[crowd > 0], 0.99)))
        share = np.where(crowd > 0, np.clip(0.3 + 0.65 * np.log(np.maximum(crowd, 1)) / np.log(most), 0.0, 0.95), 0.0)
        share = share.reshape(*self.pixels.shape[:2], 1)
        self.pixels[:] = np.round(self.pixels * (1 - share) + np.array(colour) * share).astype(np.uint8)


def category_colours(codes: Any, palette: Any) -> Any:
    """Return `[n, 3]` RGB of `[n]` codes: the palette dealt out in code order, again and again; white where there is none."""
    import numpy as np
    import pandas as pd

    number = pd.factorize(np.asarray(codes, dtype=object), sort=True)[0]
    colours = np.array(palette, dtype=np.uint8)[number % len(palette)]
    colours[number < 0] = 255
    return colours
