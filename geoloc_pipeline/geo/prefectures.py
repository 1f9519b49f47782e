"""The 47 prefectures (JIS X 0401), which of them touch, and the 8 regions in which Geofabrik publishes Japan.

Source: JIS X 0401 codes and names; Geofabrik's index for the ids of the regions and what each of them holds; the borders are
those of the administrative areas (国土数値情報 行政区域データ).
"""

from __future__ import annotations

from dataclasses import dataclass

from geoloc_pipeline.errors import SettingError

REGIONS = ("hokkaido", "tohoku", "kanto", "chubu", "kansai", "chugoku", "shikoku", "kyushu")


@dataclass(frozen=True)
class Prefecture:
    """One prefecture.

    Attributes:
        code: JIS X 0401, two digits with the leading zero.
        key: Partition key, such as `13_tokyo`.
        name: Japanese name, such as 東京都.
        region: Geofabrik id of the regional extract that holds it.
    """

    code: str
    key: str
    name: str
    region: str


_ROWS = """
01 hokkaido 北海道 hokkaido
02 aomori 青森県 tohoku
03 iwate 岩手県 tohoku
04 miyagi 宮城県 tohoku
05 akita 秋田県 tohoku
06 yamagata 山形県 tohoku
07 fukushima 福島県 tohoku
08 ibaraki 茨城県 kanto
09 tochigi 栃木県 kanto
10 gunma 群馬県 kanto
11 saitama 埼玉県 kanto
12 chiba 千葉県 kanto
13 tokyo 東京都 kanto
14 kanagawa 神奈川県 kanto
15 niigata 新潟県 chubu
16 toyama 富山県 chubu
17 ishikawa 石川県 chubu
18 fukui 福井県 chubu
19 yamanashi 山梨県 chubu
20 nagano 長野県 chubu
21 gifu 岐阜県 chubu
22 shizuoka 静岡県 chubu
23 aichi 愛知県 chubu
24 mie 三重県 kansai
25 shiga 滋賀県 kansai
26 kyoto 京都府 kansai
27 osaka 大阪府 kansai
28 hyogo 兵庫県 kansai
29 nara 奈良県 kansai
30 wakayama 和歌山県 kansai
31 tottori 鳥取県 chugoku
32 shimane 島根県 chugoku
33 okayama 岡山県 chugoku
34 hiroshima 広島県 chugoku
35 yamaguchi 山口県 chugoku
36 tokushima 徳島県 shikoku
37 kagawa 香川県 shikoku
38 ehime 愛媛県 shikoku
39 kochi 高知県 shikoku
40 fukuoka 福岡県 kyushu
41 saga 佐賀県 kyushu
42 nagasaki 長崎県 kyushu
43 kumamoto 熊本県 kyushu
44 oita 大分県 kyushu
45 miyazaki 宮崎県 kyushu
46 kagoshima 鹿児島県 kyushu
47 okinawa 沖縄県 kyushu
"""

PREFECTURES = tuple(
    Prefecture(code=code, key=f"{code}_{romaji}", name=name, region=region)
    for code, romaji, name, region in (row.split() for row in _ROWS.strip().splitlines())
)
BY_CODE = {prefecture.code: prefecture for prefecture in PREFECTURES}
BY_KEY = {prefecture.key: prefecture for prefecture in PREFECTURES}


def prefectures_of(region: str) -> tuple[Prefecture, ...]:
    """Return the prefectures that a regional extract holds, in code order."""
    return tuple(prefecture for prefecture in PREFECTURES if prefecture.region == region)


# Each land border once, under the lower code. Bridges and tunnels are none: 01-02, 28-36, 35-40 are not here. Two are on small
# islands that a border divides: 33-37 on Ishima (井島) and Ozuchi (大槌島), 34-38 on Hyotan (瓢箪島).
_LAND_BORDERS = """
02 03 05
03 04 05
04 05 06 07
05 06
06 07 15
07 08 09 10 15
08 09 11 12
09 10 11
10 11 15 20
11 12 13 19 20
12 13
13 14 19
14 19 22
15 16 20
16 17 20 21
17 18 21
18 21 25 26
19 20 22
20 21 22 23
21 23 24 25
22 23
23 24
24 25 26 29 30
25 26
26 27 28 29
27 28 29 30
28 31 33
29 30
31 32 33 34
32 34 35
33 34 37
34 35 38
36 37 38 39
37 38
38 39
40 41 43 44
41 42
43 44 45 46
44 45
45 46
"""
_BORDERS = [(code, other) for code, *others in map(str.split, _LAND_BORDERS.strip().splitlines()) for other in others]


def neighbours_of(code: str) -> tuple[str, ...]:
    """Return the prefectures that share a land border with one, in code order; none for Hokkaido and Okinawa.

    Bridges and tunnels do not count; a border across a river or a divided island does.

    Args:
        code: JIS X 0401, two digits with the leading zero.

    Returns:
        Their codes.

    Raises:
        SettingError: There is no such prefecture.
    """
    if code not in BY_CODE:
        raise SettingError(setting="the prefecture code", value=code, cure="use 01 to 47, with the leading zero")
    return tuple(sorted(second if first == code else first for first, second in _BORDERS if code in {first, second}))
