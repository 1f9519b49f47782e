"""The mirror's download sites: Geofabrik's extracts and e-Stat's census archives.

Belongs here: which file a URL means, and what the sites say when there is none.
Does not belong here: the files themselves (`publish_*.py`), ranges and streaming (`mirror_answers.py`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geoloc_pipeline.demo.mirror_answers import Answer, file_answer, html
from geoloc_pipeline.demo.publish_census import SURVEY, archive_name

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from geoloc_pipeline.demo.mirror_answers import Asked

_TYPES = {".pbf": "application/octet-stream", ".md5": "text/plain", ".txt": "text/plain", ".json": "application/json"}


class Geofabrik:
    """`download.geofabrik.de`: `-latest` redirects to the dated file, everything else is a plain file."""

    def __init__(self, folder: Path, published_at: datetime) -> None:
        """Keeps where the files are.

        Args:
            folder: Stands for the site's root.
            published_at: When its files were last changed.
        """
        self._folder, self._published_at = folder, published_at

    def answer(self, asked: Asked) -> Answer:
        """Serves one URL; 404 for what is not there."""
        path = (self._folder / asked.path.lstrip("/")).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            return _missing(asked)
        latest = re.fullmatch(r"(.+)-latest(\.osm\.pbf(?:\.md5)?)", path.name)
        if latest:
            dated = sorted(path.parent.glob(f"{latest[1]}-[0-9][0-9][0-9][0-9][0-9][0-9]{latest[2]}"))
            if not dated:
                return _missing(asked)
            target = f"https://{asked.host}{asked.path.rsplit('/', 1)[0]}/{dated[-1].name}"
            return html(302, "Found", f'The document has moved <a href="{target}">here</a>.', Location=target)
        if not path.is_file():
            return _missing(asked)
        return file_answer(asked, path, _TYPES.get(path.suffix, "text/html"), changed_at=self._published_at)


class Estat:
    """`www.e-stat.go.jp`: one URL for all archives; whatever it does not understand it answers with a page and 200."""

    def __init__(self, folder: Path) -> None:
        """Keeps where the archives are.

        Args:
            folder: Where the archives stand side by side.
        """
        self._folder = folder

    def answer(self, asked: Asked) -> Answer:
        """Serves the archive that the parameters name; it knows neither ranges nor ETags."""
        if asked.path != "/gis/statmap-search/data":
            return html(404, "404 Not Found", "ページが見つかりません。")
        wanted = {"dlserveyId": SURVEY, "coordSys": "1", "format": "shape", "downloadType": "5", "datum": "2011"}
        code = asked.query.get("code", "")
        path = self._folder / archive_name(code)
        is_asked_right = all(asked.query.get(key) == value for key, value in wanted.items())
        if not is_asked_right or not re.fullmatch(r"\d\d", code) or not path.is_file():
            return html(200, "統計地理情報システム", "該当するデータはありません。検索条件を確認してください。")
        headers = {"Content-Disposition": f'attachment; filename="{path.name}"'}
        return Answer(200, path, "application/octet-stream", headers)


def _missing(asked: Asked) -> Answer:
    return html(404, "404 Not Found", f"The requested URL {asked.path} was not found on this server.")
