"""From neighbours to a place: read-outs, the soft gate, and what validation pictures tell about both.

Belongs here: everything between a search and an estimate with its regions.
Does not belong here: words, maps and pages (`answering`); judging a whole home (`trials`).
"""
