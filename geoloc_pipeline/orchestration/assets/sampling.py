"""Group `sampling`: where we want a picture, and what a refresh changed about it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.geo.prefectures import BY_CODE, BY_KEY, neighbours_of
from geoloc_pipeline.orchestration.assets.osm import census_towns
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, sheet, table_paths, write_tables
from geoloc_pipeline.orchestration.partitions import prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    LANDMARK_POINTS,
    OSM_LANDMARKS,
    OSM_ROADS,
    ROAD_POINTS,
    SAMPLE_POINTS,
    TableContract,
)

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.sampling.changes import Changes

CHANGES = "added_moved_removed"
COVERED, APART = "every_point_is_near_a_sample_point", "sample_points_keep_apart"
WARNED_SHARE = 0.1
"""A refresh that changes more of the points than this is worth a look: a week of mapping changes about one in a hundred."""


class Watch:
    """Compares a table of points with the one that it is about to replace.

    Args:
        step: Whose table it is.
        contract: The table.
    """

    def __init__(self, step: Step, contract: TableContract) -> None:
        self._step, self._contract = step, contract
        self._changes: Changes | None = None
        self._is_first = False

    def see(self, points: "pd.DataFrame") -> None:
        """Look at the new points before they are written."""
        from geoloc_pipeline.sampling.changes import compare_points
        from geoloc_pipeline.storage.parquet import read_table

        try:
            former = read_table(self._contract, self._step.pipeline.home.table(self._contract.name, self._step.partition))
        except (MissingInputError, BadSourceFileError):  # never made, or by a version with other columns
            former, self._is_first = points[:0], True
        self._changes = compare_points(former, points)

    def told(self) -> dg.AssetCheckResult:
        """Return what changed: nothing when the step had nothing to do. Too much is a warning, never a refusal."""
        metadata: dict[str, Any] = {"prefecture": self._step.partition, "first_time": self._is_first}
        share = 0.0
        if self._changes is None:
            metadata |= {"added": 0, "moved": 0, "removed": 0, "kept": int(self._step.facts().get("rows") or 0)}
        else:
            changes, share = self._changes, 0.0 if self._is_first else self._changes.changed_share
            metadata |= {"added": changes.added, "moved": changes.moved, "removed": changes.removed, "kept": changes.kept}
            if changes.moved:
                metadata["moved_median_m"] = round(float(changes.moved_m[changes.moved // 2]), 1)
                metadata["moved_farthest_m"] = round(float(changes.moved_m[-1]), 1)
        metadata |= {"changed_pct": round(100 * share, 2), "warned_above_pct": 100 * WARNED_SHARE}
        return dg.AssetCheckResult(
            asset_key=self._step.key,
            check_name=CHANGES,
            passed=share <= WARNED_SHARE,
            severity=dg.AssetCheckSeverity.WARN,
            metadata=metadata,
        )


def _changes_spec(key: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(CHANGES, asset=key, description="What the last run did to the points, beside the table before it.")


@dg.asset(
    partitions_def=prefectures,
    deps=["osm_roads", census_towns],
    **sheet(ROAD_POINTS, group="sampling", kinds={"shapely"}, code_version="2", checks=[_changes_spec("road_points")]),
)
def road_points(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Points along the roads of one prefecture, 500 m to 5 km apart, at least one a road, more for longer and larger ones.

    From: osm_roads (ways of one road merged first, so that it does not matter how mappers cut them), census_towns.
    Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.showing.previews import draw_spacing
    from geoloc_pipeline.sampling.roads import sample_roads
    from geoloc_pipeline.sampling.spacing import SamplingSettings
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "road_points", key)
    watch = Watch(step, ROAD_POINTS)

    def build() -> Made:
        roads, towns = (
            read_table(OSM_ROADS, home.table("osm_roads", key)),
            read_table(CENSUS_TOWNS, home.table("census_towns", key)),
        )
        points = sample_roads(roads, towns, settings=SamplingSettings())
        watch.see(points)
        made = write_tables(step, {ROAD_POINTS: points}, roads_sampled=int(points["feature_id"].nunique()))
        made.preview = draw_spacing(points, towns)
        return made

    yield step.run(step.upstream("osm_roads", key) | step.upstream("census_towns", key), build)
    yield watch.told()


@dg.asset(
    partitions_def=prefectures,
    deps=["osm_landmarks", census_towns],
    **sheet(LANDMARK_POINTS, group="sampling", kinds={"shapely"}, code_version="2", checks=[_changes_spec("landmark_points")]),
)
def landmark_points(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Grid points in the landmarks of one prefecture, at least one a landmark, more in larger ones.

    From: osm_landmarks, census_towns. Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.showing.previews import draw_spacing
    from geoloc_pipeline.sampling.landmarks import sample_landmarks
    from geoloc_pipeline.sampling.spacing import SamplingSettings
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "landmark_points", key)
    watch = Watch(step, LANDMARK_POINTS)

    def build() -> Made:
        landmarks = read_table(OSM_LANDMARKS, home.table("osm_landmarks", key))
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", key))
        points = sample_landmarks(landmarks, towns, settings=SamplingSettings())
        watch.see(points)
        made = write_tables(step, {LANDMARK_POINTS: points}, landmarks_sampled=int(points["feature_id"].nunique()))
        made.preview = draw_spacing(points, towns)
        return made

    yield step.run(step.upstream("osm_landmarks", key) | step.upstream("census_towns", key), build)
    yield watch.told()


class SamplePointsConfig(dg.Config):
    """Where clusters end."""

    neighbours: bool = Field(
        default=False,
        description=(
            "let the points of neighbouring prefectures take part near the border, as far as they exist: one sample point then "
            "stands for both sides, and the result depends on which neighbours are built"
        ),
    )


def _points_of_neighbours(step: Step) -> dict[str, str]:
    """Return `{artefact: content hash}` of the points of the land neighbours that exist."""
    wanted = {BY_CODE[code].key for code in neighbours_of(BY_KEY[step.partition].code)}
    found = step.upstream_partitions("road_points") | step.upstream_partitions("landmark_points")
    return {name: version for name, version in found.items() if name.split("/", 1)[1] in wanted}


def _halo(pipeline: Pipeline, artefacts: dict[str, str]) -> "pd.DataFrame | None":
    """Return the points in artefacts as one table; None where there are none."""
    import pandas as pd

    from geoloc_pipeline.storage.parquet import read_table

    tables = [
        read_table(contract, path)
        for contract in (ROAD_POINTS, LANDMARK_POINTS)
        for path in table_paths(pipeline, contract.name, artefacts)
    ]
    return pd.concat(tables, ignore_index=True) if tables else None


@dg.asset(
    partitions_def=prefectures,
    deps=[road_points, landmark_points, census_towns],
    **sheet(
        SAMPLE_POINTS,
        group="sampling",
        kinds={"scikitlearn"},
        code_version="2",
        checks=[
            _changes_spec("sample_points"),
            dg.AssetCheckSpec(COVERED, asset="sample_points", description="No road or landmark point is farther than stated."),
            dg.AssetCheckSpec(APART, asset="sample_points", description="No two sample points are closer than stated."),
        ],
    ),
)
def sample_points(context: dg.AssetExecutionContext, pipeline: Pipeline, config: SamplePointsConfig) -> Iterator[Outcome]:
    """Where we want a picture: the centroids of DBSCAN clusters of road and landmark points, wide clusters cut first.

    From: road_points, landmark_points. Density clustering chains a dense street grid into one cluster as wide as a city; its
    centroid would mean nothing, so no cluster stays wider than 500 m. Clusters end at the prefecture's border, so that the
    result does not depend on which prefectures are built; `neighbours: true` lets them reach across. Takes: seconds.
    Paper §3.1.
    """
    from geoloc_pipeline.orchestration.showing.previews import draw_clusters
    from geoloc_pipeline.sampling.clusters import ClusterSettings, cluster_points, coverage_m, separation_m
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step, settings = Step(context, pipeline, "sample_points", key), ClusterSettings()
    watch = Watch(step, SAMPLE_POINTS)
    theirs = _points_of_neighbours(step) if config.neighbours else {}

    def build() -> Made:
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", key))
        roads = read_table(ROAD_POINTS, home.table("road_points", key))
        landmarks = read_table(LANDMARK_POINTS, home.table("landmark_points", key))
        points = cluster_points(
            roads, landmarks, prefecture_code=BY_KEY[key].code, settings=settings, halo=_halo(pipeline, theirs)
        )
        watch.see(points)
        made = write_tables(
            step,
            {SAMPLE_POINTS: points},
            members=int(points["n_members"].sum()),
            widest_radius_m=round(float(points["radius_m"].max()), 1) if len(points) else 0.0,
            coverage_m=round(max(coverage_m(roads, points), coverage_m(landmarks, points)), 1),
            separation_m=round(separation_m(points), 1) if len(points) > 1 else None,
        )
        made.preview = draw_clusters(points, towns)
        return made

    inputs = step.upstream("road_points", key) | step.upstream("landmark_points", key) | step.upstream("census_towns", key)
    yield step.run(inputs | theirs, build)
    yield watch.told()
    farthest_m, closest_m = step.facts()["coverage_m"], step.facts()["separation_m"]
    yield dg.AssetCheckResult(
        asset_key="sample_points",
        check_name=COVERED,
        passed=farthest_m <= settings.reach_m,
        # With neighbours, the sample point that serves a place at the border may be one of theirs.
        severity=dg.AssetCheckSeverity.WARN if config.neighbours else dg.AssetCheckSeverity.ERROR,
        metadata={"prefecture": key, "farthest_m": farthest_m, "stated_m": settings.reach_m},
    )
    yield dg.AssetCheckResult(
        asset_key="sample_points",
        check_name=APART,
        passed=closest_m is None or closest_m >= settings.apart_m,
        metadata={"prefecture": key, "closest_m": closest_m, "stated_m": settings.apart_m},
    )
