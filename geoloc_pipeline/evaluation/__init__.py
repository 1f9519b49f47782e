"""How good the answers are, and the report that says so.

Belongs here: error tables, baselines, calibrated regions, bias per prefecture, charts, maps drawn without the network, and the
report page (`report`).
Does not belong here: searching the gallery and reading an answer from neighbours (`retrieval`); estimates come in as tables.
"""
