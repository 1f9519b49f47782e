"""Which OpenStreetMap objects count as a road or as a landmark, each with the wiki page that defines its tag.

Belongs here: the two lists and nothing else; change them and everything downstream follows.
Does not belong here: how the objects are found (`extract.py`) and named (`roads.py`, `landmarks.py`).

The paper names neither list (§3.1: "roads and landmarks"); both are ours. Roads are the classes that a car with a camera
drives and that carry names: slip roads (`*_link`) have no identity of their own, service ways and footways are left to
pedestrians. Landmarks are what people name when they say where they are, and what looks like nothing else; `leisure=garden`
is left out, because most of them are private front gardens (404 of 832 landmarks of Andorra).
"""

from __future__ import annotations

ROAD_CLASSES = {
    "motorway": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dmotorway",
    "trunk": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dtrunk",
    "primary": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dprimary",
    "secondary": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dsecondary",
    "tertiary": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dtertiary",
    "unclassified": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dunclassified",
    "residential": "https://wiki.openstreetmap.org/wiki/Tag:highway%3Dresidential",
}
"""Values of `highway`, most important first. In Japan trunk is 国道, primary 主要地方道, secondary 一般県道
(https://wiki.openstreetmap.org/wiki/Japan_tagging/Road_types)."""

LANDMARK_TAGS = {
    ("tourism", "attraction"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Dattraction",
    ("tourism", "museum"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Dmuseum",
    ("tourism", "theme_park"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Dtheme_park",
    ("tourism", "zoo"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Dzoo",
    ("tourism", "aquarium"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Daquarium",
    ("tourism", "viewpoint"): "https://wiki.openstreetmap.org/wiki/Tag:tourism%3Dviewpoint",
    ("historic", "castle"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Dcastle",
    ("historic", "ruins"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Druins",
    ("historic", "archaeological_site"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Darchaeological_site",
    ("historic", "monument"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Dmonument",
    ("historic", "memorial"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Dmemorial",
    ("historic", "tomb"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Dtomb",
    ("historic", "building"): "https://wiki.openstreetmap.org/wiki/Tag:historic%3Dbuilding",
    ("amenity", "place_of_worship"): "https://wiki.openstreetmap.org/wiki/Tag:amenity%3Dplace_of_worship",
    ("railway", "station"): "https://wiki.openstreetmap.org/wiki/Tag:railway%3Dstation",
    ("aeroway", "aerodrome"): "https://wiki.openstreetmap.org/wiki/Tag:aeroway%3Daerodrome",
    ("man_made", "lighthouse"): "https://wiki.openstreetmap.org/wiki/Tag:man_made%3Dlighthouse",
    ("leisure", "stadium"): "https://wiki.openstreetmap.org/wiki/Tag:leisure%3Dstadium",
    ("leisure", "park"): "https://wiki.openstreetmap.org/wiki/Tag:leisure%3Dpark",
    ("natural", "peak"): "https://wiki.openstreetmap.org/wiki/Tag:natural%3Dpeak",
    ("natural", "beach"): "https://wiki.openstreetmap.org/wiki/Tag:natural%3Dbeach",
}
"""(key, value) pairs, the most telling first: an object with several of them has the category of the first."""

NAME_TAGS = ("name", "name:ja")
"""Where a Japanese name is looked for, in this order (https://wiki.openstreetmap.org/wiki/Multilingual_names#Japan)."""

LATIN_NAME_TAGS = ("name:ja-Latn", "name:ja_rm", "name:en")
"""Where a name in Latin letters is looked for, in this order: readings first, then translations (same page)."""


def tags_filter() -> dict[str, list[str]]:
    """Return everything above as QuackOSM wants it: values by key, a new dict on each call."""
    wanted = {"highway": list(ROAD_CLASSES)}
    for key, value in LANDMARK_TAGS:
        wanted.setdefault(key, []).append(value)
    return wanted
