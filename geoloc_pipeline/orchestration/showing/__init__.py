"""What the Dagster UI shows on a materialisation.

Belongs here: previews: maps, contact sheets, curves, tables.
Does not belong here: pages that stand for themselves (`evaluating`, `lineage`).
"""
