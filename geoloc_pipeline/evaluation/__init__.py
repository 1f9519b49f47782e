"""How good the answers are, what limits them, and the report that says so.

Belongs here: figures and their intervals, tables by area, source and track, ceilings, near-duplicates, calibrated regions,
bias, heads, latency, what the paper states beside them, charts, maps drawn without the network, and the report page (`report`).
Does not belong here: searching the gallery and reading an answer from neighbours (`retrieval`); estimates come in as tables.
"""
