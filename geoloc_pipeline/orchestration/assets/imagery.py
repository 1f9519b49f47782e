"""Group `imagery`: pictures at the sample points, and photos that exist already."""

from pathlib import Path

import dagster as dg

from geoloc_pipeline.orchestration.assets.sampling import sample_points
from geoloc_pipeline.orchestration.io import Made, Step, sheet, write_tables
from geoloc_pipeline.orchestration.partitions import photo_sets, prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import PHOTO_COLLECTIONS, REJECTED, SAMPLE_POINTS, STREET_VIEW_IMAGES


@dg.asset(
    partitions_def=prefectures,
    deps=[sample_points],
    pool="street_view",
    **sheet(STREET_VIEW_IMAGES, group="imagery", kinds={"mapillary", "webp"}, code_version="2"),
)
def street_view_images(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Street-view pictures at the sample points of one prefecture: N, E, S, W joined, WebP q90 with EXIF GPS, in tar shards.

    From: sample_points, Mapillary (coverage tiles choose the picture, one entity call and one download each). A run that was
    cut goes on where it stopped; a new dump costs the pictures of its new points only; those of vanished points stay, marked.
    Costs: 2 requests a picture, within Mapillary's limits. Takes: hours for a prefecture.
    Licence: CC BY-SA 4.0, creator and link kept for every picture. Paper §3.1.
    """
    from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
    from geoloc_pipeline.imagery.journal import remove_unused_shards
    from geoloc_pipeline.orchestration.previews import draw_pictures
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "street_view_images", key)
    folder = home.images("street_view_images", key)
    settings = CollectSettings(workers=pipeline.settings.workers, source_px=pipeline.settings.source_px)

    def build() -> Made:
        points = read_table(SAMPLE_POINTS, home.table("sample_points", key))
        images, rejected = collect_street_view(
            points,
            pipeline.mapillary(),
            folder,
            settings=settings,
            progress=step.progress,
            tiles_folder=home.coverage_tiles("mapillary"),
        )
        made = write_tables(
            step,
            {STREET_VIEW_IMAGES: images, REJECTED: rejected},
            points=len(points),
            points_with_a_picture_pct=round(100 * int(images["is_wanted"].sum()) / max(len(points), 1), 1),
            of_vanished_points=int((~images["is_wanted"]).sum()),
            panoramas=int((images["views"] == "NESW").sum()),
        )
        made.bulk = sorted(folder / shard for shard in images["shard"].unique())
        made.preview = draw_pictures(images, folder, points)
        return made

    result = step.run(step.upstream("sample_points", key) | {"source_px": settings.source_px}, build)
    remove_unused_shards(folder, read_table(STREET_VIEW_IMAGES, home.table("street_view_images", key)))
    return result


@dg.asset(partitions_def=photo_sets, **sheet(PHOTO_COLLECTIONS, group="imagery", kinds={"webp"}, code_version="2"))
def photo_collections(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Photos of one existing photo set that lie in the country, re-encoded like street view (WebP q90, EXIF GPS).

    From: files that you place under sources/photos/<set>/ (`local`: any folder of photos with EXIF GPS, or a CSV
    IMG_FILE,LAT,LON). A set whose folder is absent gives an empty table. Paper §3.1.
    """
    from geoloc_pipeline.imagery.journal import remove_unused_shards
    from geoloc_pipeline.imagery.photo_sets import collect_photo_set
    from geoloc_pipeline.orchestration.previews import draw_contact_sheet
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "photo_collections", key)
    files, folder = _photo_files(pipeline, key), home.images("photo_collections", key)

    def build() -> Made:
        photos, rejected = collect_photo_set(key, files, folder, progress=step.progress)
        made = write_tables(step, {PHOTO_COLLECTIONS: photos, REJECTED: rejected})
        made.bulk = sorted(folder / shard for shard in photos["shard"].unique())
        made.preview = draw_contact_sheet(photos, folder)
        return made

    result = step.run({"files": _listing(files)}, build)
    remove_unused_shards(folder, read_table(PHOTO_COLLECTIONS, home.table("photo_collections", key)))
    return result


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
