"""Resources: the home on disk, the way to the services, the keys. Everything enters through the environment.

https://docs.dagster.io/guides/build/external-resources
Secrets are read when they are needed and handed down; they never are part of a run's configuration, metadata or log.
"""

import os
import re
import shlex
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import dagster as dg
from pydantic import Field

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.prefectures import REGIONS
from geoloc_pipeline.orchestration.settings import SETTINGS, Profile, Settings
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shared import home_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from geoloc_pipeline.demo.mirror import Mirror
    from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation
    from geoloc_pipeline.sources.http import HttpClient
    from geoloc_pipeline.sources.street_view import StreetViewProvider


class Pipeline(dg.ConfigurableResource[None]):
    """Where the pipeline lives and how it reaches the services.

    Attributes:
        home_dir: `$GEOLOC_HOME`.
        profile: `$GEOLOC_PROFILE`: `japan` speaks to the real services, `demo` to a mirror in this very process.
        osm_dumps: `$GEOLOC_OSM_DUMPS`: other maps than Geofabrik's extract of the same name, such as
            `kanto=/maps/tokyo.osm.pbf kyushu=japan`; the demo brings its own.
    """

    home_dir: str = Field(description="GEOLOC_HOME: folder or URL of tables, pictures, models and reports")
    profile: str = Field(description="GEOLOC_PROFILE: japan or demo")
    osm_dumps: str = Field(
        default="", description="GEOLOC_OSM_DUMPS: region=Geofabrik id or .osm.pbf file, with blanks between"
    )

    @property
    def home(self) -> Home:
        """Where everything is: a folder, or this node's working copy of an object storage."""
        return home_at(self.home_dir, os.environ)

    @property
    def settings(self) -> Settings:
        """The settings of the profile.

        Raises:
            SettingError: There is no such profile.
        """
        if self.profile not in get_args(Profile):
            raise SettingError(setting="GEOLOC_PROFILE", value=self.profile, cure="set it to japan or demo, or leave it unset")
        return SETTINGS[self.profile]  # type: ignore[index]

    def dump_source(self, region: str) -> str | Path:
        """Return where the map of a region comes from: a Geofabrik id (its own by default), or a local `.osm.pbf`.

        Raises:
            SettingError: GEOLOC_OSM_DUMPS cannot be read.
        """
        if self.profile == "demo":
            return region
        return _dump_sources(self.osm_dumps).get(region, region)

    def http(self) -> "HttpClient":
        """Return the client for every service; in the demo it ends in the mirror instead of a socket."""
        from geoloc_pipeline.sources.http import HttpClient

        transport = None
        if self.profile == "demo":
            from geoloc_pipeline.demo.mirror_transports import mirror_transport

            transport = mirror_transport(_demo_mirror(self.home))
        return HttpClient(transport=transport, contact=os.environ.get("GEOLOC_CONTACT", ""))

    def street_view_sources(self) -> tuple[str, ...]:
        """Return the street-view providers in the order in which they are asked: GEOLOC_STREET_VIEW, else the open ones.

        Raises:
            SettingError: GEOLOC_STREET_VIEW names something else.
        """
        from geoloc_pipeline.sources.street_view_providers import read_order

        return read_order("" if self.profile == "demo" else os.environ.get("GEOLOC_STREET_VIEW", ""))

    @asynccontextmanager
    async def street_view(self) -> "AsyncIterator[list[StreetViewProvider]]":
        """Yield the street-view providers with their keys, inside the event loop that asks them.

        Raises:
            MissingKeyError: A provider's key is not set (the demo has keys of its own).
            TermsNotAcceptedError: Google is among them, and GEOLOC_GOOGLE_TERMS does not name the clauses.
        """
        from geoloc_pipeline.sources.http_async import AsyncHttpClient
        from geoloc_pipeline.sources.street_view_providers import open_provider

        environ = dict(os.environ)
        options: dict[str, Any] = {}
        if self.profile == "demo":
            from geoloc_pipeline.demo.mirror import DEMO_TOKEN, STREET_VIEW_HOSTS
            from geoloc_pipeline.demo.mirror_transports import async_mirror_transport

            environ = {"MAPILLARY_ACCESS_TOKEN": DEMO_TOKEN}
            options["transport"] = async_mirror_transport(_demo_mirror(self.home))
            options["per_second"] = dict.fromkeys(STREET_VIEW_HOSTS, 1e6)  # nobody has to be spared
        contact, budgets = os.environ.get("GEOLOC_CONTACT", ""), self.home.budgets()
        async with AsyncHttpClient(contact=contact, budgets_folder=budgets, **options) as http:
            yield [open_provider(name, http, environ) for name in self.street_view_sources()]

    def gallery(self) -> "GalleryLocation":
        """Return where the gallery is: the server in GEOLOC_QDRANT_URL, or the engine inside this process."""
        from geoloc_pipeline.retrieval.answering.desk import gallery_location

        return gallery_location(self.home)


@lru_cache(maxsize=2)
def _demo_mirror(home: Home) -> "Mirror":
    """Return the mirror of the home's world; the world is published first where it is not there yet."""
    from geoloc_pipeline.demo.mirror import Mirror
    from geoloc_pipeline.orchestration.world import ensure_world

    folder, land = ensure_world(home)
    return Mirror(folder, land)


def _dump_sources(told: str) -> dict[str, str | Path]:
    """Return the source of each region that GEOLOC_OSM_DUMPS names.

    Raises:
        SettingError: It cannot be read.
    """
    cure = (
        "write region=source with blanks between, each region once; a region is one of "
        f"{', '.join(REGIONS)}, a source a Geofabrik id such as japan or a file that ends in .osm.pbf"
    )
    try:
        entries = [entry.partition("=")[::2] for entry in shlex.split(told)]  # quotes hold a path with blanks together
    except ValueError:
        raise SettingError(setting="GEOLOC_OSM_DUMPS", value=told, cure=f"a quote is not closed; {cure}") from None
    sources: dict[str, str | Path] = {}
    for region, source in entries:
        is_file = source.endswith(".osm.pbf")
        if region not in REGIONS or region in sources or not (is_file or re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)*", source)):
            raise SettingError(setting="GEOLOC_OSM_DUMPS", value=told, cure=f"{region}={source} cannot be read; {cure}")
        sources[region] = Path(source).expanduser().absolute() if is_file else source
    return sources


def pipeline_from_environment() -> Pipeline:
    """Return the pipeline that GEOLOC_HOME, GEOLOC_PROFILE and GEOLOC_OSM_DUMPS describe (default: `data`, `japan`, none)."""
    return Pipeline(
        home_dir=os.environ.get("GEOLOC_HOME", "data"),
        profile=os.environ.get("GEOLOC_PROFILE", "japan"),
        osm_dumps=os.environ.get("GEOLOC_OSM_DUMPS", ""),
    )
