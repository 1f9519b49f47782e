"""Partitions: 47 prefectures, 8 regional extracts, 7 photo sets, and how one maps onto the other.

https://docs.dagster.io/guides/build/partitions-and-backfills
A dump's version is never a partition dimension: it is a data version, metadata and a run tag.
"""

import dagster as dg

from geoloc_pipeline.geo.prefectures import PREFECTURES, REGIONS, prefectures_of

PHOTO_SETS = ("im2gps", "im2gps3k", "yfcc100m", "mp16", "google_landmarks_v2", "osv5m", "local")

prefectures = dg.StaticPartitionsDefinition([prefecture.key for prefecture in PREFECTURES])
regions = dg.StaticPartitionsDefinition(list(REGIONS))
photo_sets = dg.StaticPartitionsDefinition(list(PHOTO_SETS))

region_to_prefectures = dg.StaticPartitionMapping(
    {region: [prefecture.key for prefecture in prefectures_of(region)] for region in REGIONS}
)
"""A prefecture is cut out of the one regional extract that holds it."""

every_photo_set = dg.AllPartitionMapping()
"""A photo set may hold photos of any prefecture."""
