"""Two days of new maps while somebody searches: only what changed is made anew, and no question goes unanswered.

The whole week, with the demo's own pictures: `python -m benchmarks.week`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # the benchmarks stand beside the tests
from benchmarks._changing_world import News, a_week
from benchmarks.week import ASSETS, CHANGED, SAME, SKIPPED, Day, Pipeworks, Searched, pipeworks, searcher, train

pytestmark = pytest.mark.chain
CODES = ("13", "47")
TOKYO, OKINAWA = "13_tokyo", "47_okinawa"


@dataclass(frozen=True)
class Week:
    """What a short week came to.

    Attributes:
        works: Its home, as it is afterwards.
        first: The collection that was live before.
        days: In order: two on which one of two prefectures changes, one on which a road is renamed, one without news.
        met: What the searchers met.
    """

    works: Pipeworks
    first: str
    days: list[Day]
    met: dict[str, Searched]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory, stripes) -> Iterator[Week]:
    root = tmp_path_factory.mktemp("week")
    with pipeworks(root, CODES, density=0.08, days=2, draw=stripes) as works:
        works.begin(train)
        first = works.live()
        with searcher(works.home) as met:
            days = [works.day(news) for news in (*a_week(CODES, days=2), News(renamed=("13",)), News())]
        yield Week(works, first, days, met)


def test_each_day_makes_what_its_maps_ask_for_and_nothing_else(week: Week) -> None:
    assert [day.unwanted for day in week.days] == [[], [], [], []]


def test_a_new_map_reaches_every_table_of_its_prefecture_and_none_of_another(week: Week) -> None:
    for day, changed, other in zip(week.days, (TOKYO, OKINAWA), (OKINAWA, TOKYO), strict=False):
        made = {asset for asset in ASSETS if day.outcomes[asset, changed] == CHANGED}
        assert made >= {"osm_roads", "road_points", "sample_points", "street_view_images", "labelled_images", "training_shards"}
        assert not [asset for asset in ASSETS if day.outcomes[asset, other] == CHANGED]


def test_a_new_map_without_a_changed_road_ends_at_the_roads(week: Week) -> None:
    made = {asset: week.days[1].outcomes[asset, TOKYO] for asset in ASSETS}
    assert [asset for asset in made if made[asset] == SAME] == ["osm_roads", "osm_landmarks"]
    assert {made[asset] for asset in ASSETS if asset not in {"osm_roads", "osm_landmarks"}} == {SKIPPED}


def test_the_sensor_asks_for_the_regions_with_a_new_map_only(week: Week) -> None:
    assert [day.asked for day in week.days] == [("kanto",), ("kanto", "kyushu"), ("kanto",), ()]


def test_nothing_is_fetched_or_embedded_twice(week: Week) -> None:
    assert week.works.world.mirror.given_twice == []
    assert week.days[0].embedded[0] > 0
    assert all(computed < taken_over for computed, taken_over in (day.embedded for day in week.days[:2]))
    assert [day.embedded for day in week.days[2:]] == [(0, 0), (0, 0)]


def test_the_gallery_is_swapped_when_a_picture_came_and_only_then(week: Week) -> None:
    live = [week.first, *(day.collection for day in week.days)]
    assert len(set(live[:3])) == 3
    assert len(set(live[2:])) == 1


def test_whoever_searches_meanwhile_is_always_answered(week: Week) -> None:
    for one in week.met.values():
        assert len(one.ms) > 20
        assert one.failed == []
        assert one.unlike == 0
        assert set(one.seen) >= {day.collection for day in week.days}
