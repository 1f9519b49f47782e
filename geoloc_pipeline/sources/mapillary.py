"""Mapillary: open street-level pictures, through its Graph API v4 and its vector tiles.

Source: https://graph.mapillary.com (entities, search) and https://tiles.mapillary.com (z14 coverage tiles).
Licence: CC BY-SA 4.0; attribution "<creator> via Mapillary, CC BY-SA 4.0" and a link to the picture's page.
Cadence: grows all the time; a picture once published does not change, but can be taken back.
Polite: 50,000 tiles a day and 60,000 entities a minute are allowed; coverage is read tile by tile, then one entity a picture.
Keeps: nothing here; download links expire and are never provenance, the id and the page are.
Absent: an empty tile is an empty `Coverage`, an unknown id is `None`, an image without a place has `lat` None.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import ImageError, MissingKeyError, SettingError, SourceUnavailableError
from geoloc_pipeline.sources.http_policy import PASSING, Answer, Verdict, judge_picture
from geoloc_pipeline.sources.mapillary_coverage import COVERAGE_ZOOM, parse_tile, read_coverage_tile
from geoloc_pipeline.sources.mapillary_images import FIELDS, download_url, page_url, read_shot
from geoloc_pipeline.sources.street_view import Picture
from geoloc_pipeline.sources.street_view_json import list_of, object_of
from geoloc_pipeline.sources.street_view_tiles import quarters, tile_areas, tile_of_area

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.street_view import Area, Coverage, Point, Shot
    from geoloc_pipeline.sources.street_view_tiles import Box

log = logging.getLogger(__name__)

SOURCE = "mapillary"
SERVICE = "Mapillary"
TOKEN_VARIABLE = "MAPILLARY_ACCESS_TOKEN"  # noqa: S105  the name of the variable, not a token
HOW_TO_OBTAIN = (
    "register an application at https://www.mapillary.com/dashboard/developers (free), copy its client token and "
    f"set {TOKEN_VARIABLE} to it"
)
TILES_HOST, GRAPH_HOST = "tiles.mapillary.com", "graph.mapillary.com"
LARGEST_BOX_DEG2 = 0.01  # a larger box is answered with HTTP 500
SMALLEST_BOX_DEG = 0.0001  # about 10 m: the density gate is not passed by shrinking further
SEARCH_LIMIT = 2000  # the service's own; there are no further pages

_TILES_PER_DAY, _TILES_PER_S, _ENTITIES_PER_S = 50_000, 50.0, 500.0
_PASSING_CODES = frozenset({2, 4, 17, 32, 341, 613})  # Meta's codes for "temporarily" and for rate limits
_TOKEN_CODES = frozenset({102, 190})
_ABSENT_CODES = frozenset({100, 803})  # "Unsupported get request", "some of the aliases do not exist"
_GATE_CODE = 1  # "Please reduce the amount of data you're asking for": a density gate in big cities, sent as HTTP 500
_EXPIRED = frozenset(range(400, 500)) - PASSING
_TOKEN_CURE = f"check that {TOKEN_VARIABLE} holds a valid client token of https://www.mapillary.com/dashboard/developers"


class MapillaryProvider:
    """Speaks to Mapillary with one token; the methods of `StreetViewProvider`, with z14 tiles as areas.

    Args:
        http: Who asks.
        token: Client token, `MLY|…`.
    """

    source = SOURCE
    service = SERVICE
    keeps_coverage = True
    requests_per_picture = 2

    def __init__(self, http: AsyncHttpClient, token: str) -> None:
        if not token.strip():
            raise MissingKeyError(service=SERVICE, variable=TOKEN_VARIABLE, how_to_obtain=HOW_TO_OBTAIN)
        self._http, self._token = http, token.strip()
        http.redaction.hide(self._token)
        http.limit(TILES_HOST, service=f"{SERVICE}'s tiles", per_second=_TILES_PER_S, per_day=_TILES_PER_DAY)
        http.limit(GRAPH_HOST, service=SERVICE, per_second=_ENTITIES_PER_S)

    def areas_around(self, points: Sequence[Point], *, radius_m: float) -> list[Area]:
        """Return the z14 tiles (about 2 km wide in Japan) that hold all that lies within `radius_m` metres of the points."""
        return tile_areas(points, radius_m=radius_m)

    async def ask_coverage(self, area: Area, *, radius_m: float) -> bytes:  # noqa: ARG002  the whole tile comes
        """Return a vector tile as it is sent; no bytes where there is nothing.

        Raises:
            SourceUnavailableError: Mapillary does not answer, or not with a tile.
        """
        x, y = tile_of_area(area)
        url = _api()[1].get_image_layer(x=x, y=y, z=COVERAGE_ZOOM).rstrip("/")  # as documented; the package appends a slash
        params = {"access_token": self._token}  # the tiles know no Authorization header
        answer = await self._http.get(url, service=SERVICE, params=params, judge=_judge_tile, cure=_TOKEN_CURE)
        try:
            parse_tile(answer.content)  # what is kept can be read
        except ValueError as error:
            raise SourceUnavailableError(service=SERVICE, url=answer.url, reason=str(error)) from None
        return answer.content

    def read_coverage(self, area: Area, content: bytes) -> Coverage:
        """Return the pictures of a tile; raises ValueError when it is spoilt."""
        x, y = tile_of_area(area)
        return read_coverage_tile(content, x=x, y=y)

    async def picture(self, image_id: str, *, width_px: int) -> Picture | None:
        """Return one picture, its bytes unchecked; None when Mapillary does not know it (any more).

        The download link is asked for right before, and once more when it has expired.

        Args:
            image_id: Mapillary's id.
            width_px: How wide it shall be; Mapillary has 256, 1024, 2048 and the original.

        Returns:
            The picture.

        Raises:
            ImageError: Mapillary knows the picture but gives no bytes.
            SourceUnavailableError: Mapillary does not answer.
            SourceRefusedError: The token is refused.
            BudgetSpentError: The day's requests are used up.
        """
        for _ in range(2):
            entry = await self._entity(image_id)
            if entry is None:
                return None
            url = download_url(entry, width_px=width_px)
            if url is None:
                detail = "Mapillary gives no download link for it"
                raise ImageError(image=page_url(image_id), reason="no_picture", detail=detail)
            answer = await self._http.get(url, service=f"{SERVICE}'s picture server", absent=_EXPIRED)
            if answer.status < 400:
                return Picture(shot=read_shot(entry), contents={None: answer.content}, fetched_at=answer.sent_at)
        detail = f"two fresh download links were answered with HTTP {answer.status}"
        raise ImageError(image=page_url(image_id), reason="gone", detail=detail)

    def left_today(self) -> int | None:
        """Return how many more tiles the day's budget allows; entities have none."""
        return self._http.left_today(TILES_HOST)

    async def images_in_box(self, *, west: float, south: float, east: float, north: float) -> list[Shot]:
        """Return every picture in a box; where Mapillary finds it too much, the box is quartered.

        Args:
            west: Smallest longitude in degrees.
            south: Smallest latitude in degrees.
            east: Largest longitude in degrees.
            north: Largest latitude in degrees.

        Returns:
            The pictures in id order. Of a spot of 10 m that the density gate keeps shut, what little was allowed.

        Raises:
            SettingError: The box is empty or not on Earth.
            SourceUnavailableError: Mapillary does not answer.
            SourceRefusedError: The token is refused.
            BudgetSpentError: The day's requests are used up.
        """
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            box_now = (west, south, east, north)
            raise SettingError(
                setting="the box (west, south, east, north)", value=box_now, cure="give west < east, south < north"
            )
        found: dict[str, Shot] = {}
        boxes = [(west, south, east, north)]
        while boxes:
            box = boxes.pop()
            shots = None if (box[2] - box[0]) * (box[3] - box[1]) >= LARGEST_BOX_DEG2 else await self._search(box)
            found |= {shot.image_id: shot for shot in shots or []}
            if shots is None or len(shots) >= SEARCH_LIMIT:
                if min(box[2] - box[0], box[3] - box[1]) > SMALLEST_BOX_DEG:
                    boxes += quarters(box)
                else:
                    log.warning("Mapillary keeps the box %s shut (too dense); its pictures are left out", box)
        return [found[image_id] for image_id in sorted(found)]

    async def _search(self, box: Box) -> list[Shot] | None:
        """Return the pictures in a small box; None when it holds too much for Mapillary."""
        params = {"bbox": ",".join(f"{side:.7f}" for side in box), "fields": ",".join(FIELDS), "limit": str(SEARCH_LIMIT)}
        found = _json(await self._graph(f"https://{GRAPH_HOST}/images", params=params))
        if _is_gate(_error_of(found)):
            return None
        return [read_shot(entry) for entry in list_of(found.get("data")) if "id" in object_of(entry)]

    async def _entity(self, image_id: str) -> dict[str, Any] | None:
        url = _api()[0].get_image(image_id, list(FIELDS)).replace("/?", "?")  # as documented
        found = _json(await self._graph(url))
        return found if "id" in found else None

    async def _graph(self, url: str, *, params: Mapping[str, str] | None = None) -> Answer:
        headers = {"Authorization": f"OAuth {self._token}"}
        return await self._http.get(url, service=SERVICE, params=params, headers=headers, judge=_judge, cure=_TOKEN_CURE)


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        kind = answer.headers.get("content-type", "no content type")
        raise SourceUnavailableError(service=SERVICE, url=answer.url, reason=f"it sent {kind} instead of a JSON object")
    return found


def _error_of(found: Any) -> dict[str, Any]:
    return object_of(object_of(found).get("error"))


def _is_gate(error: Mapping[str, Any]) -> bool:
    return error.get("code") == _GATE_CODE and "reduce the amount" in str(error.get("message", "")).lower()


def _judge(answer: Answer) -> Verdict:
    """Return what an answer means: the body's error code says more than the HTTP status."""
    if answer.status < 400:
        return judge_picture(answer)  # no page stands in for a tile or an entity either
    try:
        error = _error_of(answer.json())
    except ValueError:
        error = {}
    code = error.get("code")
    if code in _TOKEN_CODES or answer.status == 401:
        return "refused"
    if code in _PASSING_CODES or error.get("is_transient"):
        return "again"
    is_absent = code in _ABSENT_CODES and "field" not in str(error.get("message", "")).lower()  # 100 is also "no such field"
    if is_absent or _is_gate(error) or answer.status == 404:
        return "take"  # "nothing there" and "ask for less" are answers
    return "again" if answer.status in PASSING else "refused"


def _judge_tile(answer: Answer) -> Verdict:
    """Return what an answer for a tile means: a 404 that explains itself is no empty tile but a wrong address."""
    return "refused" if answer.status == 404 and answer.content else _judge(answer)


@lru_cache(maxsize=1)
def _api() -> tuple[Any, Any]:
    """Return the `mapillary` package's builders of addresses (entities, vector tiles), its loggers muted.

    Of that package only these are used: its requests print the token to stdout, know no timeout and no retry, and its search
    drops panoramas. On import it opens log files inside its own folder and hangs printers on its loggers.

    Raises:
        SettingError: That folder cannot be written.
    """
    try:
        try:
            entities, vector_tiles = _import_builders()
        except FileExistsError:  # another process of a fresh installation made its log folder at the same moment
            entities, vector_tiles = _import_builders()
    except OSError as error:
        raise SettingError(
            setting="the folder of the installed `mapillary` package",
            value=error.filename,
            cure="it writes log files there when it is loaded: make it writable, or install into an environment of your own",
        ) from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("mapillary.")]:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.WARNING)
    return entities, vector_tiles


def _import_builders() -> tuple[Any, Any]:
    from mapillary.config.api.entities import Entities
    from mapillary.config.api.vector_tiles import VectorTiles

    return Entities, VectorTiles
