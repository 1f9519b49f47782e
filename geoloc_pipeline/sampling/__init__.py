"""Where we want pictures: points along roads, grids in landmarks, and the centroids of their clusters (paper §3.1).

Belongs here: how far apart points stand, where exactly, and how near ones become one.
Does not belong here: what the map says (`osm`), and which pictures there are (`imagery`).
"""
