"""The roof: assets, partitions, resources, jobs and automation; the only room that knows Dagster.

Here lie what Dagster asks for (partitions, resources, jobs, automation, io) and its `assets`; in rooms of their own `running`,
`showing`, `evaluating`, `lineage` and `keeping`.

Belongs here: wiring of configuration, inputs and metadata, so that every artefact has its lineage in the Dagster UI.
Does not belong here: how anything is computed (the room of the same name), nor where it lies (`storage.layout`).
"""
