"""Which world the demo shows: the made-up Japan, or real maps with rendered pictures; chosen once per home.

Belongs here: the choice, kept beside the world, so that runs in other processes and the UI see the same world.
Does not belong here: growing, publishing and serving it (`demo`).
"""

import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.storage.atomic import disk_errors, write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shared import shared_home

if TYPE_CHECKING:
    from geoloc_pipeline.demo.land import Land

MADE_UP = ("01", "13", "35", "47")


@dataclass(frozen=True)
class World:
    """The world of a demo.

    Attributes:
        source: Folder of real `*.osm.pbf` and e-Stat files; empty for the made-up Japan.
        seed: What the made-up Japan is grown from.
        prefecture_codes: Prefectures of the made-up Japan.
        density: 1 for the full demo; less for tests.
    """

    source: str = ""
    seed: int = 0
    prefecture_codes: tuple[str, ...] = MADE_UP
    density: float = 1.0


def choose_world(home: Home, world: World) -> World:
    """Keep `world` as the world of `home`.

    Args:
        home: The demo's home.
        world: The world that is asked for.

    Returns:
        The world.

    Raises:
        SettingError: The home already holds another world: mixing two would make nonsense of every table.
    """
    path, shared = home.world_choice(), shared_home(home)
    if shared:
        shared.refresh()
    if path.is_file():
        if read_world(home) != world:
            raise SettingError(
                setting="--home", value=str(home.root), cure="it holds another world; name an empty folder, or remove this one"
            )
        return world
    write_text(path, json.dumps(asdict(world), ensure_ascii=False, sort_keys=True))
    if shared:
        shared.share_file(path)
    return world


def read_world(home: Home) -> World:
    """Return the world of `home`; the made-up Japan when none was chosen."""
    path = home.world_choice()
    if not path.is_file():
        return World()
    told = json.loads(path.read_text(encoding="utf-8"))
    return World(**{**told, "prefecture_codes": tuple(told["prefecture_codes"])})


@lru_cache(maxsize=2)
def ensure_world(home: Home) -> tuple[Path, "Land"]:
    """Return the folder of the published world and its land; publishes it first where it is not there yet."""
    from geoloc_pipeline.demo.grow import grow_land
    from geoloc_pipeline.demo.publish import publish_real_files, publish_world
    from geoloc_pipeline.demo.read import read_land

    world, folder = read_world(home), home.world()
    with disk_errors(home.root):
        if world.source:
            land = read_land(Path(world.source), seed=world.seed)
            publish_real_files(Path(world.source), folder)
        else:
            land = grow_land(seed=world.seed, prefecture_codes=world.prefecture_codes, density=world.density)
            publish_world(land, folder)
    return folder, land


def prefectures_in(source: Path) -> tuple[str, ...]:
    """Return the codes of the prefectures for which a folder of real files holds e-Stat archives.

    Args:
        source: Folder with `*.osm.pbf` and `A002005212020DDSWC<code>…zip` files.

    Returns:
        Two-digit codes, sorted.

    Raises:
        SettingError: The folder is not there, or lacks one of the two.
    """
    found = re.compile(r"^A002005212020DDSWC(\d{2})\d*(-JGD2011)?\.zip$")
    names = [path.name for path in source.iterdir()] if source.is_dir() else []
    codes = {match.group(1) for name in names if (match := found.match(name))}
    if not codes or not any(name.endswith(".osm.pbf") for name in names):
        raise SettingError(
            setting="--world",
            value=str(source),
            cure="name a folder with a *.osm.pbf and e-Stat archives such as A002005212020DDSWC13-JGD2011.zip",
        )
    return tuple(sorted(codes))
