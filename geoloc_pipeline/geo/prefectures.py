"""The 47 prefectures (JIS X 0401) and the 8 regions in which Geofabrik publishes Japan.

Source: JIS X 0401 codes and names; Geofabrik's index for the ids of the regions and what each of them holds.
"""

from __future__ import annotations

from dataclasses import dataclass

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
