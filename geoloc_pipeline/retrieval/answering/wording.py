"""What evidence pages say, in English and Japanese: words by key, and the sentences that depend on an answer.

Names of places are Japanese in both languages, as the census and the map have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.pages import km
from geoloc_pipeline.retrieval.answering.telling import UNFAMILIAR

if TYPE_CHECKING:
    from geoloc_pipeline.retrieval.answering.answer import Answer

Language = Literal["en", "ja"]
LANGUAGES: tuple[Language, ...] = ("en", "ja")
FAR_KM = 200.0
"""From this radius of the 90 % region on, a page says that the answer is vague (a prefecture is about 100 km across)."""

_WORDS: dict[str, tuple[str, str]] = {
    "title": ("Where was this photo taken?", "この写真はどこで撮影されたか"),
    "answer": ("Answer", "推定結果"),
    "asked_photo": ("The photo that was asked about", "調べた写真"),
    "open_osm": ("open in OpenStreetMap", "OpenStreetMapで開く"),
    "region_50": ("50 % region", "50 %の範囲"),
    "region_90": ("90 % region", "90 %の範囲"),
    "true_error": ("true error", "実際の誤差"),
    "heads": ("What the model says directly", "モデルが直接答えたこと"),
    "heads_note": (
        "Guesses of the network's five heads from the photo alone, before any neighbour was looked at.",
        "近傍の写真を見る前に、写真だけから5つの出力が推定した候補です。",
    ),
    "prefecture": ("Prefecture", "都道府県"),
    "municipality": ("Municipality", "市区町村"),
    "town": ("Town block", "町丁・字"),
    "road": ("Road", "道路"),
    "landmark": ("Landmark", "ランドマーク"),
    "where": ("Where the neighbours were taken", "近傍の写真の撮影地"),
    "country": ("Whole country", "全国"),
    "around": ("Around the answer", "推定地点の周辺"),
    "country_label": ("Map: neighbours over the whole country", "地図：全国の近傍の写真"),
    "around_label": ("Map: neighbours around the answer", "地図：推定地点周辺の近傍の写真"),
    "neighbour_mark": ("neighbour (the 10 best are larger)", "近傍の写真（上位10件は大きい点）"),
    "density": ("density of neighbours", "近傍の写真の密度"),
    "truth": ("truth", "正解"),
    "map_note": (
        "Drawn without map tiles. The coast of the wide map is schematic; areas are those of the census.",
        "地図タイルを使わずに描いています。広域図の海岸線は概略で、区域は国勢調査によります。",
    ),
    "pictures": ("The pictures that speak for it", "根拠となった写真"),
    "pictures_note": (
        "Most similar first. Similarity is the cosine of the embeddings, from -1 to 1. Four views of one place are shown as "
        "N, E above S, W.",
        "類似度の高い順です。類似度は埋め込みのコサイン（-1～1）です。1地点の4方向は、上段に北・東、下段に南・西を並べています。",
    ),
    "similarity": ("similarity", "類似度"),
    "from_answer": ("from the answer", "推定地点から"),
    "no_picture": ("picture not in this file", "このファイルに画像はありません"),
    "no_attribution": ("attribution not known", "作者不明"),
    "source": ("source", "出典"),
    "neighbour": ("Neighbour", "近傍の写真"),
    "more": ("more neighbours", "件の近傍の写真をさらに表示"),
    "made_of": ("Made of", "使用データ"),
    "model": ("model", "モデル"),
    "collection": ("gallery", "ギャラリー"),
    "read-out": ("read-out", "読み出し方法"),
    "map": ("map", "地図"),
    "census": ("census", "国勢調査"),
    "map_data": ("map data", "地図データ"),
    "map_data_text": (
        "© OpenStreetMap contributors (ODbL); census areas: e-Stat, Statistics Bureau of Japan",
        "© OpenStreetMap contributors (ODbL)、国勢調査の区域：e-Stat（総務省統計局）",
    ),
    "footer": (
        "This page is one file and loads nothing from the network. Links lead to other sites only when you follow them.",
        "このページは1つのファイルで、ネットワークから何も読み込みません。リンクは開いたときだけ外部につながります。",
    ),
    "unlike": (
        "This photo is unlike nearly everything the gallery was checked with (indoor, night, aerial, abroad?). "
        "Do not trust the place without looking at the neighbours.",
        "この写真は、検証に使ったほぼすべての写真と似ていません（屋内・夜間・空撮・国外など）。近傍の写真を確かめずに結果を信用しないでください。",
    ),
    "vague": (
        "The region is so large that this is a hint at best.",
        "範囲が非常に広いため、参考程度にとどめてください。",
    ),
    "sea": (
        "This point lies in no census area: in the sea, on a lake, or in a prefecture that was not loaded.",
        "この地点は国勢調査のどの区域にも入りません（海・湖の上、または未取得の都道府県）。",
    ),
    "abroad": ("The answer lies outside the box around Japan.", "推定地点は日本周辺の範囲外です。"),
    "abstained": ("No answer is given.", "回答を控えます。"),
    "kept_place": (
        "What the neighbours point at is shown below all the same, so that you can see why.",
        "理由を確認できるよう、近傍の写真が示す地点は下に表示します。",
    ),
    "no_place": ("No known place", "該当する地名なし"),
    "outside": ("outside Japan", "日本国外"),
}


def words_in(language: str) -> dict[str, str]:
    """Return every word of a page by its key.

    Args:
        language: `en` or `ja`.

    Raises:
        SettingError: There is no such language.
    """
    if language not in LANGUAGES:
        raise SettingError(setting="language", value=language, cure=f"choose one of {', '.join(LANGUAGES)}")
    return {key: told[LANGUAGES.index(language)] for key, told in _WORDS.items()}


def place_in(answer: Answer, language: str) -> str:
    """Return the names of the answer's place in one line; what it means when there are none."""
    named = " ".join(answer.names[level] for level in ("prefecture", "municipality", "town") if answer.names.get(level))
    return named or words_in(language)["no_place" if answer.is_in_box else "outside"]


def confidence_in(answer: Answer, language: str) -> str:
    """Return how sure the answer is, in one or two sentences."""
    near, count = answer.neighbours_within(25.0), len(answer.neighbours)
    radii = [
        (level, km(radius)) for level, radius in ((50, answer.region_50_km), (90, answer.region_90_km)) if radius is not None
    ]
    if language == "ja":
        said = "、".join(f"{level} %は推定地点から{radius}以内" for level, radius in radii)
        said = f"このような写真の{said}で撮影されていました。" if said else "誤差の範囲は較正されていません。"
        return f"{said}近傍{count}件のうち{near}件が推定地点から25 km以内にあります。"
    said = ", and ".join(f"within {radius} of the answer in {level} of 100 cases" for level, radius in radii)
    said = f"Photos like this were taken {said}." if said else answer.regions_text
    return f"{said} {near} of {count} neighbours lie within 25 km of it."


def readout_in(answer: Answer, language: str) -> str:
    """Return how the place was read from the neighbours, in a sentence."""
    count, spread = len(answer.neighbours), km(answer.spread_km)
    if language == "ja":
        return f"読み出し方法：{answer.readout}（近傍{count}件）。重みの半分は推定地点から{spread}以内にあります。"
    plural = "" if count == 1 else "s"
    return f"Read-out: {answer.readout}, over {count} neighbour{plural}; half of their weight lies within {spread}."


def truth_in(truth_km: float, place: str, answer: Answer, language: str) -> str:
    """Return how far an answer is from a truth that is known, in a sentence."""
    radius = answer.region_90_km
    is_inside = radius is not None and truth_km <= radius
    if language == "ja":
        where = "" if radius is None else f"、90 %の範囲の{'内' if is_inside else '外'}"
        return f"この写真の撮影地は分かっています：{place}（推定地点から{km(truth_km)}{where}）。"
    where = "" if radius is None else f", {'inside' if is_inside else 'outside'} the 90 % region"
    return f"This photo's place is known: {place}, {km(truth_km)} from the answer{where}."


def left_out_in(count: int, language: str) -> str:
    """Return that some thumbnails are missing, in a sentence."""
    if language == "ja":
        return f"ファイルを小さくするため、末尾{count}件の縮小画像を省きました。"
    return f"Thumbnails of the {count} last neighbours were left out to keep this file small."


def familiarity_in(familiarity: float, language: str) -> str:
    """Return how like the gallery a photo is, in a sentence."""
    share = f"{100 * familiarity:.0f}"
    if language == "ja":
        return f"検証用写真の{share} %は、この写真と同程度かそれ以下しかギャラリーに似ていませんでした。"
    return f"{share} of 100 validation pictures were no more like the gallery than this photo."


def warnings_in(answer: Answer, language: str) -> list[str]:
    """Return what a reader must know before trusting the answer; empty when there is nothing."""
    words = words_in(language)
    told = []
    if answer.is_abstained:
        reason = "" if language == "ja" else f" {answer.abstain_text}"
        told.append(f"{words['abstained']}{reason} {words['kept_place']}")
    if answer.familiarity is not None and answer.familiarity < UNFAMILIAR:
        told.append(words["unlike"])
    if answer.region_90_km is not None and answer.region_90_km > FAR_KM:
        told.append(words["vague"])
    if not answer.is_in_box:
        told.append(words["abroad"])
    elif answer.is_on_land is False:
        told.append(words["sea"])
    return told
