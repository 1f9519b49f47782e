"""Where things are on Earth: reference systems, distances, prefectures, map tiles.

Belongs here: geometry and geography that any project about Japan could use.
Does not belong here: anything that knows of this project's tables, files, services or pictures.
"""
