"""Tables of places: what the map and the census give, and where pictures are wanted."""

from __future__ import annotations

from geoloc_pipeline.tables.contract import Column, TableContract

LAT = Column("lat", "float64", "latitude, WGS 84 degrees", low=-90, high=90)
LON = Column("lon", "float64", "longitude, WGS 84 degrees", low=-180, high=180)
PREFECTURE_CODE = Column("prefecture_code", "string", "JIS X 0401, 2 digits with the leading zero")

CENSUS_TOWNS = TableContract(
    name="census_towns",
    about="One town block (町丁・字等) of the 2020 census, dissolved by KEY_CODE; water survey areas are left out.",
    columns=(
        Column("town_code", "string", "e-Stat KEY_CODE, 11 digits; of a block without a name: of what is known"),
        Column("town", "string", "S_NAME; missing where the census names none", nullable=True),
        Column("municipality_code", "string", "JIS X 0402, 5 digits"),
        Column("municipality", "string", "CITY_NAME", nullable=True),
        PREFECTURE_CODE,
        Column("prefecture", "string", "PREF_NAME"),
        Column("population", "int64", "people (JINKO), summed over the rows of a block", low=0),
    ),
    key=("town_code",),
    geometry=("Polygon", "MultiPolygon"),
)

OSM_ROADS = TableContract(
    name="osm_roads",
    about="One OSM way of a road class of interest, whole, that touches the prefecture or its 1 km halo.",
    columns=(
        Column("way_id", "string", "OSM id such as way/123"),
        Column("road_id", "string", "identity of the road the way belongs to; missing: not a class", nullable=True),
        Column("highway", "string", "OSM highway class"),
        Column("name", "string", "name as tagged, the Japanese one where there are several", nullable=True),
        Column("name_latin", "string", "name in Latin letters: a reading, else a translation", nullable=True),
        Column("ref", "string", "route number", nullable=True),
        Column("length_m", "float64", "geodesic length of the way, metres", low=0),
    ),
    key=("way_id",),
    geometry=("LineString",),
)

OSM_LANDMARKS = TableContract(
    name="osm_landmarks",
    about="One OSM object with a landmark tag of interest that touches the prefecture or its 1 km halo.",
    columns=(
        Column("landmark_id", "string", "OSM id such as node/1, way/2, relation/3"),
        Column("category", "string", "the tag that made it a landmark, such as tourism=museum"),
        Column("name", "string", "name as tagged, the Japanese one where there are several", nullable=True),
        Column("name_latin", "string", "name in Latin letters: a reading, else a translation", nullable=True),
        Column("area_m2", "float64", "area, square metres; 0 for a node", low=0),
    ),
    key=("landmark_id",),
    geometry=("Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"),
)


def _points(name: str, about: str) -> TableContract:
    return TableContract(
        name=name,
        about=about,
        columns=(
            Column("point_id", "string", "hash of the feature and the place"),
            LAT,
            LON,
            Column("feature_id", "string", "the road (road_id, or way_id where it has none) or landmark_id"),
            Column("spacing_m", "float64", "interval at which this feature was sampled, metres; 0 for a lone point", low=0),
        ),
        key=("point_id",),
        geometry=("Point",),
    )


ROAD_POINTS = _points("road_points", "One point on a road, at equal intervals along it (paper §3.1).")
LANDMARK_POINTS = _points("landmark_points", "One point of an equal grid in a landmark (paper §3.1).")
POINTS = (ROAD_POINTS, LANDMARK_POINTS)

SAMPLE_POINTS = TableContract(
    name="sample_points",
    about="One place where a picture is wanted: the centroid of a cluster of road and landmark points (paper §3.1).",
    columns=(
        Column("point_id", "string", "hash of the members"),
        LAT,
        LON,
        PREFECTURE_CODE,
        Column("n_members", "int64", "points in the cluster", low=1),
        Column("radius_m", "float64", "distance of the farthest member from the centroid, metres", low=0),
    ),
    key=("point_id",),
    geometry=("Point",),
)
