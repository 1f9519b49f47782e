"""The evaluation of a home: its test pictures answered, and the pages that tell the result.

Belongs here: gathering what every step has told for the report.
Does not belong here: single figures (`geoloc_pipeline.evaluation`), single answers (`geoloc_pipeline.retrieval`).
"""
