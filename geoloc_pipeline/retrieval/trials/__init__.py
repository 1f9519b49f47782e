"""The retrieval put to the test: pictures whose place is known, answered by every read-out and by simpler methods.

Belongs here: tables of answers beside the truth, baselines, the latency experiment.
Does not belong here: figures and reports out of those tables (`geoloc_pipeline.evaluation`).
"""
