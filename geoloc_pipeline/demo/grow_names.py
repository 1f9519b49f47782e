"""Names of the made-up Japan: each says of itself that it is a sample, an example, or invented.

Belongs here: prefectures' places, municipalities, town blocks, roads and landmarks by name and number.
Does not belong here: where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES = ("見本", "例示", "架空", "雛形", "模型", "試作")
"""Words for sample, example, invented, template, model and prototype: every made-up name begins with one."""
ROMAJI = {"見本": "Mihon", "例示": "Reiji", "架空": "Kaku", "雛形": "Hinagata", "模型": "Mokei", "試作": "Shisaku"}
STREETS = (
    "桜", "松", "竹", "梅", "楓", "銀杏", "柳", "藤", "港", "駅前", "中央", "本町", "寺町", "市場",
    "学園", "公園", "平和", "緑", "川端", "橋詰", "坂下", "坂上", "日の出", "夕陽", "星見", "朝市", "鍛冶", "大工",
    "紺屋", "米屋", "塩", "茶屋", "水車", "石畳", "並木", "堤", "丘", "泉", "鐘楼", "灯台",
)  # fmt: skip


@dataclass(frozen=True)
class Homeland:
    """Where a made-up prefecture lies, and what its names have of their own.

    Attributes:
        code: JIS X 0401.
        lat: Of its middle, WGS 84 degrees.
        lon: Of its middle.
        turn_deg: How far its long side is turned from east towards north.
        mark: The character that tells its municipalities from other prefectures'.
        route: First of its made-up national routes (real ones end at 507).
        road_word: What prefectural roads are called (道道, 都道, 県道).
    """

    code: str
    lat: float
    lon: float
    turn_deg: float
    mark: str
    route: int
    road_word: str


HOMELANDS = {
    land.code: land
    for land in (
        Homeland("01", 43.06, 141.38, 8.0, "北", 901, "北海道道"),
        Homeland("13", 35.70, 139.52, -4.0, "東", 911, "東京都道"),
        Homeland("35", 34.18, 131.47, 14.0, "西", 921, "山口県道"),
        Homeland("47", 26.47, 127.90, 42.0, "南", 931, "沖縄県道"),
    )
}

# stem, kind of municipality, county; the codes 281 to 284 and 781, 782 are given to nobody in Japan
_MUNICIPALITIES = (
    ("見本", "市", "", "281"),
    ("例示", "市", "", "282"),
    ("架空", "市", "", "283"),
    ("雛形", "市", "", "284"),
    ("模型", "町", "仮名{mark}郡", "781"),
    ("試作", "村", "仮名{mark}郡", "782"),
)

TOWNS = (
    ("{word}町一丁目", "001001"),
    ("{word}町二丁目", "001002"),
    ("{word}本町", "002001"),  # no chome: two blocks of one name, as the census splits them
    ("{word}本町", "002002"),
    ("髙台{word}", "003000"),  # 髙 is in cp932 and not in plain Shift JIS
    ("大字{word}字上", "004001"),
)
"""Town blocks of each municipality: S_NAME and S_AREA."""


def municipality(homeland: Homeland, number: int) -> tuple[str, str]:
    """Tells code and name of a prefecture's municipality 0 to 5."""
    stem, kind, county, digits = _MUNICIPALITIES[number]
    if homeland.code == "13" and kind == "市" and number < 2:
        kind = "区"
    own = "" if county else homeland.mark
    return homeland.code + digits, county.format(mark=homeland.mark) + stem + own + kind


def town(municipality_number: int, block: int) -> tuple[str, str]:
    """Tells S_NAME and S_AREA of a municipality's block 0 to 5."""
    name, area = TOWNS[block]
    return name.format(word=SAMPLES[(municipality_number + 1 + block // 4) % len(SAMPLES)]), area


def street(number: int) -> str:
    """Names a prefecture's n-th street; 240 streets have names of their own."""
    word = SAMPLES[number // len(STREETS) % len(SAMPLES)]
    return f"{word}{STREETS[number % len(STREETS)]}通り"
