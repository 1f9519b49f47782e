"""Group `sampling`: where we want a picture."""

import dagster as dg

from geoloc_pipeline.geo.prefectures import BY_KEY
from geoloc_pipeline.orchestration.assets.osm import census_towns
from geoloc_pipeline.orchestration.io import Made, Step, sheet, write_tables
from geoloc_pipeline.orchestration.partitions import prefectures
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    LANDMARK_POINTS,
    OSM_LANDMARKS,
    OSM_ROADS,
    ROAD_POINTS,
    SAMPLE_POINTS,
)


@dg.asset(
    partitions_def=prefectures, deps=["osm_roads", census_towns], **sheet(ROAD_POINTS, group="sampling", kinds={"shapely"})
)
def road_points(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Points along the roads of one prefecture, 500 m to 5 km apart, at least one a road, more for longer and larger ones.

    From: osm_roads (ways of one road merged first, so that it does not matter how mappers cut them), census_towns.
    Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.previews import draw_map
    from geoloc_pipeline.sampling.roads import sample_roads
    from geoloc_pipeline.sampling.spacing import SamplingSettings
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "road_points", key)

    def build() -> Made:
        roads, towns = (
            read_table(OSM_ROADS, home.table("osm_roads", key)),
            read_table(CENSUS_TOWNS, home.table("census_towns", key)),
        )
        points = sample_roads(roads, towns, settings=SamplingSettings())
        made = write_tables(step, {ROAD_POINTS: points}, roads_sampled=int(points["feature_id"].nunique()))
        made.preview = draw_map(lines=roads, points=points)
        return made

    return step.run(step.upstream("osm_roads", key) | step.upstream("census_towns", key), build)


@dg.asset(
    partitions_def=prefectures,
    deps=["osm_landmarks", census_towns],
    **sheet(LANDMARK_POINTS, group="sampling", kinds={"shapely"}),
)
def landmark_points(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Grid points in the landmarks of one prefecture, at least one a landmark, more in larger ones.

    From: osm_landmarks, census_towns. Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.previews import draw_map
    from geoloc_pipeline.sampling.landmarks import sample_landmarks
    from geoloc_pipeline.sampling.spacing import SamplingSettings
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "landmark_points", key)

    def build() -> Made:
        landmarks = read_table(OSM_LANDMARKS, home.table("osm_landmarks", key))
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", key))
        points = sample_landmarks(landmarks, towns, settings=SamplingSettings())
        made = write_tables(step, {LANDMARK_POINTS: points}, landmarks_sampled=int(points["feature_id"].nunique()))
        made.preview = draw_map(areas=towns, points=points)
        return made

    return step.run(step.upstream("osm_landmarks", key) | step.upstream("census_towns", key), build)


@dg.asset(
    partitions_def=prefectures,
    deps=[road_points, landmark_points, census_towns],
    **sheet(SAMPLE_POINTS, group="sampling", kinds={"scikitlearn"}),
)
def sample_points(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
    """Where we want a picture: the centroids of DBSCAN clusters of road and landmark points, wide clusters cut first.

    From: road_points, landmark_points. Density clustering chains a dense street grid into one cluster as wide as a city; its
    centroid would mean nothing, so no cluster stays wider than 500 m. Takes: seconds. Paper §3.1.
    """
    from geoloc_pipeline.orchestration.previews import draw_map
    from geoloc_pipeline.sampling.clusters import ClusterSettings, cluster_points, coverage_m
    from geoloc_pipeline.storage.parquet import read_table

    home, key = pipeline.home, context.partition_key
    step = Step(context, pipeline, "sample_points", key)

    def build() -> Made:
        towns = read_table(CENSUS_TOWNS, home.table("census_towns", key))
        roads = read_table(ROAD_POINTS, home.table("road_points", key))
        landmarks = read_table(LANDMARK_POINTS, home.table("landmark_points", key))
        points = cluster_points(roads, landmarks, towns, prefecture_code=BY_KEY[key].code, settings=ClusterSettings())
        made = write_tables(
            step,
            {SAMPLE_POINTS: points},
            members=int(points["n_members"].sum()),
            widest_radius_m=round(float(points["radius_m"].max()), 1) if len(points) else 0.0,
            coverage_m=round(max(coverage_m(roads, points), coverage_m(landmarks, points)), 1),
        )
        made.preview = draw_map(areas=towns, points=points)
        return made

    inputs = step.upstream("road_points", key) | step.upstream("landmark_points", key) | step.upstream("census_towns", key)
    return step.run(inputs, build)
