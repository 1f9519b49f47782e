"""The assets, one file a group; the groups are named after the rooms that do the work.

Belongs here: about fifteen lines an asset: what goes in, which room makes it, what the UI shows.
Does not belong here: the work.
"""
