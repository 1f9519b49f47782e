"""Everything that speaks to strangers: one provider a file, and the one HTTP client they all use.

Belongs here: what a service or a data set offers, how it is asked politely, and how its answers and faults become ours.
Does not belong here: choosing or changing pictures (`imagery`), extracting the map (`osm`), knowing where anything is kept.
"""
