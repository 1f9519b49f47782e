"""The zip archives of e-Stat: whole, safe to unpack, and with every part of a shapefile."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.geo.prefectures import BY_CODE

SURVEY = "A002005212020"
URL = (
    "https://www.e-stat.go.jp/gis/statmap-search/data"
    f"?dlserveyId={SURVEY}&code={{code}}&coordSys=1&format=shape&downloadType=5&datum=2011"  # without datum: JGD2000
)

_PARTS = (".shp", ".shx", ".dbf", ".prj")
_LARGEST_UNPACKED_BYTES = 4 * 2**30
_LARGEST_PAGE_BYTES = 2**20
# What zipfile raises on spoilt directories; a member without a name is an IndexError, an offset before the file an OSError.
SPOILT_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, LookupError, ValueError, struct.error)
# 該当するデータはありません: what the search says that finds nothing. A page of an outage says something else.
_NOTHING_FOUND = re.compile(
    r"該当(?:する)?(?:境界|統計)?(?:データ|ファイル)[^。<]{0,20}(?:ありません|見つかりません|存在しません)"
)


def cure_of(path: Path, prefecture_code: str = "") -> str:
    """Return what to do about the bad archive at `path`; its prefecture is taken from the name where it is not given."""
    code = prefecture_code or (found[1] if (found := re.search(r"DDSWC(\d{2})", path.name)) else "")
    which = f"prefecture {code} ({BY_CODE[code].name})" if code in BY_CODE else "its prefecture"
    return f"remove it and fetch {which} again, or download it by hand: {URL.format(code=code or 'CODE')}"


def says_there_is_none(path: Path) -> bool:
    """Return whether what came is e-Stat's page that says that it has no such archive."""
    if path.stat().st_size > _LARGEST_PAGE_BYTES or zipfile.is_zipfile(path):
        return False
    page = path.read_bytes()
    return any(_NOTHING_FOUND.search(page.decode(encoding, "replace")) for encoding in ("utf-8", "cp932"))


def check_archive(path: Path, *, shown: Path, prefecture_code: str = "") -> list[str]:
    """Return the shapefiles in an archive that is whole and safe to unpack.

    Args:
        path: The file.
        shown: Its name in messages (an arriving file still has another).
        prefecture_code: Which prefecture it should be, for messages.

    Returns:
        Names of the `.shp` members.

    Raises:
        BadSourceFileError: It is no zip, spoilt, lacks a part, or names a file outside of itself.
    """
    cure = cure_of(shown, prefecture_code)

    if not zipfile.is_zipfile(path):
        start = path.read_bytes()[:200].decode("utf-8", "replace")
        is_page = start.lstrip().lower().startswith(("<!doctype", "<html", "<?xml"))
        what = "a web page" if is_page else "something else"
        reason = f"it is {what} and no zip archive of prefecture {prefecture_code or '?'}: {' '.join(start.split())[:80]!r}"
        raise BadSourceFileError(path=shown, reason=reason, cure=cure)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            unsafe = [name for name in names if _leads_outside(name)]
            if unsafe:
                raise BadSourceFileError(
                    path=shown, reason=f"it names a file outside of itself, {unsafe[0]!r}, and was not unpacked", cure=cure
                )
            if sum(info.file_size for info in archive.infolist()) > _LARGEST_UNPACKED_BYTES:
                raise BadSourceFileError(path=shown, reason="it would unpack to more than 4 GiB", cure=cure)
            if (spoilt := archive.testzip()) is not None:
                raise BadSourceFileError(path=shown, reason=f"its member {spoilt!r} is spoilt", cure=cure)
    except BadSourceFileError:
        raise  # a ValueError, too
    except SPOILT_ZIP as error:
        raise BadSourceFileError(path=shown, reason=f"the archive cannot be read ({error})", cure=cure) from error
    folded = {name.lower() for name in names}
    shapes = [name for name in names if name.lower().endswith(".shp")]
    if not shapes:
        raise BadSourceFileError(path=shown, reason="there is no .shp file in it", cure=cure)
    for name in shapes:
        for suffix in (".dbf", ".shx"):
            if name.lower()[:-4] + suffix not in folded:
                raise BadSourceFileError(path=shown, reason=f"there is no {suffix} file beside {name!r} in it", cure=cure)
    return shapes


def _leads_outside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or name.startswith(("/", "\\")) or ":" in name


def unpack(zip_path: Path, folder: Path) -> list[Path]:
    """Write each shapefile flat into `folder`, under names of our own.

    Args:
        zip_path: The archive; checked first.
        folder: An empty folder.

    Returns:
        The `.shp` files, their parts beside them.
    """
    stems = [name[:-4] for name in check_archive(zip_path, shown=zip_path)]
    with zipfile.ZipFile(zip_path) as archive:
        for member in archive.infolist():
            stem, suffix = member.filename[:-4], member.filename[-4:].lower()
            if stem in stems and suffix in _PARTS:
                (folder / f"{stems.index(stem)}{suffix}").write_bytes(archive.read(member))
    return [folder / f"{position}.shp" for position in range(len(stems))]
