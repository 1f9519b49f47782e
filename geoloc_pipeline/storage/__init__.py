"""Where things are on disk, and how they get there whole.

Belongs here: paths (`layout`, the only module that joins them), atomic writes, tables in Parquet, pictures in tar shards,
receipts of what was made from what, and progress for people to watch.
Does not belong here: what the things mean.
"""
