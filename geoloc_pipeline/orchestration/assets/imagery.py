"""Group `imagery`: pictures at the sample points, and photos that exist already."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from geoloc_pipeline.orchestration.assets.sampling import sample_points
from geoloc_pipeline.orchestration.checks import contract_check, drift_check, drifted
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, sheet, spec_of, write_tables
from geoloc_pipeline.orchestration.limits import collection_estimate, requests_left
from geoloc_pipeline.orchestration.partitions import photo_sets, prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import PHOTO_COLLECTIONS, REJECTED, SAMPLE_POINTS, STREET_VIEW_IMAGES

if TYPE_CHECKING:
    from geoloc_pipeline.imagery.collect import Collected


COVERAGE, COVERED_PCT = "coverage_is_not_lost", "points_with_a_picture_pct"
COVERAGE_LOST_PCT = 5.0
"""Sample points that lost their picture since the last run, of a hundred, beyond which somebody should look."""


class StreetViewConfig(dg.Config):
    """How street view is collected."""

    dry_run: bool = Field(default=False, description="say what would be asked of each provider, and ask for nothing")
    edition: str = Field(default="", description="any word; another one looks at the providers' coverage anew")
    radius_m: float = Field(default=150.0, description="how far a picture may be from its sample point, metres")


ABOUT_STREET_VIEW = """\
Street-view pictures at the sample points of one prefecture: N, E, S, W joined, WebP q90 with EXIF GPS, in tar shards.

From: sample_points; Mapillary, then Panoramax, then KartaView (GEOLOC_STREET_VIEW: which, in which order). Coverage chooses
the picture, one call tells of it, one download brings it. A run that was cut goes on where it stopped; a new dump costs the
pictures of its new points only; those of vanished points stay, marked; forgotten ones go.
Costs: 2 requests a picture, within the providers' limits a second and a day. Takes: hours for a prefecture.
Licence: each picture's own (CC BY-SA 4.0 mostly), creator and link kept. Paper §3.1.
"""


@dg.multi_asset(  # of one: only the outputs of a multi-asset, its checks among them, may stay away, as they do after a dry run
    name="street_view_images",
    partitions_def=prefectures,
    pool="street_view",
    can_subset=True,
    specs=[
        dg.AssetSpec(
            "street_view_images",
            deps=[sample_points],
            skippable=True,
            description=ABOUT_STREET_VIEW,
            **spec_of(STREET_VIEW_IMAGES, group="imagery", kinds={"mapillary", "webp"}, code_version="3"),
        )
    ],
    check_specs=[
        contract_check("street_view_images"),
        drift_check("street_view_images", COVERAGE, "As many sample points have a picture as before, within 5 %."),
    ],
)
def street_view_images(context: dg.AssetExecutionContext, config: StreetViewConfig, pipeline: Pipeline) -> Iterator[Outcome]:
    """Collect what is missing, or say what a run would ask for; see `ABOUT_STREET_VIEW`."""
    from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
    from geoloc_pipeline.imagery.forgotten import Forgotten
    from geoloc_pipeline.imagery.journal import remove_unused_shards
    from geoloc_pipeline.orchestration.showing.previews import draw_pictures
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "street_view_images", key)
    folder, sources = home.images("street_view_images", key), pipeline.street_view_sources()
    settings = CollectSettings(
        in_flight=pipeline.settings.in_flight,
        source_px=pipeline.settings.source_px,
        edition=config.edition,
        radius_m=config.radius_m,
    )
    kept = {source: home.coverage_tiles(source) for source in sources}
    forgotten = Forgotten(home.forgotten())
    inputs = step.upstream("sample_points", key) | settings.decisive | {"sources": sources, "forgotten": forgotten.fingerprint}
    if config.dry_run:
        step.check(inputs)
        points = read_table(SAMPLE_POINTS, home.table("sample_points", key))
        told = collection_estimate(pipeline, points, folder, settings=settings, kept=kept)
        context.log.info("dry run, nothing was asked: %s", told)
        return
    before, left = step.facts().get(COVERED_PCT), dict[str, int]()

    def build() -> Made:
        points = read_table(SAMPLE_POINTS, home.table("sample_points", key))
        context.log.info("%s", collection_estimate(pipeline, points, folder, settings=settings, kept=kept))
        collected = collect_street_view(
            points,
            pipeline.street_view,
            folder,
            settings=settings,
            forgotten=forgotten,
            progress=step.progress,
            coverage_folders=kept,
        )
        left.update(requests_left(pipeline))
        images = collected.images
        tables = {STREET_VIEW_IMAGES: images, REJECTED: collected.rejected}
        made = write_tables(step, tables, **_figures(collected, len(points)))
        made.bulk = sorted(folder / shard for shard in images["shard"].unique())
        made.preview = draw_pictures(images, folder, points)
        return made

    result = step.run(inputs, build)
    yield result._replace(metadata={**(result.metadata or {}), **({"requests_left_today": left} if left else {})})
    yield drifted(
        "street_view_images",
        COVERAGE,
        before=before,
        after=step.facts()[COVERED_PCT],
        most_lost=COVERAGE_LOST_PCT,
        unit="% of the sample points",
        partition=key,
    )
    remove_unused_shards(folder, read_table(STREET_VIEW_IMAGES, home.table("street_view_images", key)))


def _figures(collected: "Collected", n_points: int) -> dict[str, Any]:
    """Return what people want to know of a collection."""
    images = collected.images
    return {
        "points": n_points,
        COVERED_PCT: round(100 * int(images["is_wanted"].sum()) / max(n_points, 1), 1),
        "of_vanished_points": int((~images["is_wanted"]).sum()),
        "panoramas": int((images["views"] == "NESW").sum()),
        "by_provider": collected.by_provider.to_dict("records"),
    }


@dg.asset(partitions_def=photo_sets, **sheet(PHOTO_COLLECTIONS, group="imagery", kinds={"webp"}, code_version="3"))
def photo_collections(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Photos of one existing photo set that lie in the country, re-encoded like street view (WebP q90, EXIF GPS).

    From: files that you place under sources/photos/<set>/ (`local`: any folder of photos with EXIF GPS, or a CSV
    IMG_FILE,LAT,LON). A set whose folder is absent gives an empty table. Paper §3.1.
    """
    from geoloc_pipeline.imagery.forgotten import Forgotten
    from geoloc_pipeline.imagery.journal import remove_unused_shards
    from geoloc_pipeline.imagery.photo_sets import collect_photo_set
    from geoloc_pipeline.orchestration.showing.previews import draw_contact_sheet
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "photo_collections", key)
    files, folder = _photo_files(pipeline, key), home.images("photo_collections", key)

    forgotten = Forgotten(home.forgotten())

    def build() -> Made:
        photos, rejected = collect_photo_set(key, files, folder, progress=step.progress, forgotten=forgotten)
        made = write_tables(step, {PHOTO_COLLECTIONS: photos, REJECTED: rejected})
        made.bulk = sorted(folder / shard for shard in photos["shard"].unique())
        made.preview = draw_contact_sheet(photos, folder)
        return made

    yield step.run({"files": _listing(files), "forgotten": forgotten.fingerprint}, build)
    remove_unused_shards(folder, read_table(PHOTO_COLLECTIONS, home.table("photo_collections", key)))


def _photo_files(pipeline: Pipeline, name: str) -> Path:
    """Return the folder of a photo set's files; the demo world brings a `local` set of its own."""
    from geoloc_pipeline.orchestration.world import ensure_world

    if pipeline.profile == "demo":
        return ensure_world(pipeline.home)[0] / "photos" / name
    return pipeline.home.photo_set(name)


def _listing(folder: Path) -> dict[str, list[int]]:
    """Return size and time of change of every file of a photo set: what tells that it has changed."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): [path.stat().st_size, int(path.stat().st_mtime)] for path in files}
