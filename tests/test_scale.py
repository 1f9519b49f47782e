"""The plan beyond one country: its page is what the program prints, and its figures are those of RESULTS.md and of the code."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks stand beside the tests
from benchmarks import _scale_breaks as breaks
from benchmarks import _scale_figures as f
from benchmarks import _scale_model as m
from benchmarks import scale
from benchmarks._scale_figures import Figure, Span
from geoloc_pipeline.labels.splits import SHARES
from geoloc_pipeline.orchestration.settings import SETTINGS
from geoloc_pipeline.sources.kartaview import KartaViewProvider
from geoloc_pipeline.sources.mapillary import GRAPH_HOST, LARGEST_BOX_DEG2, SEARCH_LIMIT, TILES_HOST, MapillaryProvider
from geoloc_pipeline.sources.pace import DailyBudget
from geoloc_pipeline.sources.panoramax import PanoramaxProvider
from geoloc_pipeline.training.config import TrainingConfig

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
BY_HAND = "| where | what it assumes |"
CURED = (False, True)


def places() -> list[Any]:
    return [pytest.param(size, id=size.place.name) for size in m.SIZES]


def results_below(heading: str) -> str:
    """The text of RESULTS.md below the heading that begins so, up to the next of the same rank or a higher one."""
    lines = RESULTS.splitlines()
    found = [n for n, line in enumerate(lines) if re.match(rf"#+ {re.escape(heading)}", line)]
    assert found, f"RESULTS.md has no heading {heading}"
    rank = len(lines[found[0]].split()[0])
    end = next((n for n in range(found[0] + 1, len(lines)) if re.match(rf"#{{1,{rank}}} ", lines[n])), len(lines))
    return "\n".join(lines[found[0] : end])


def test_the_page_holds_what_the_program_prints_now() -> None:
    assert scale.renewed(PAGE) == PAGE, "run `python -m benchmarks.scale --write`, and read the words around the tables again"


def test_no_table_of_the_page_is_typed_by_hand_but_the_one_without_figures() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.MULTILINE)
    by_hand = [one for one in tables if one.rstrip("\n") not in {make() for make in scale.TABLES}]
    assert [one.startswith(BY_HAND) for one in by_hand] == [True]


def test_a_page_that_lost_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match="what there is"):
        scale.renewed(PAGE.replace("| what there is |", "| what there was |"))


@pytest.mark.parametrize("figure", [one for one in f.figures() if one.quoted], ids=lambda one: one.what)
def test_every_measured_unit_cost_stands_in_results(figure: Figure) -> None:
    below = results_below(figure.source)
    missing = [words for words in figure.quoted if words not in below]
    assert not missing, f"RESULTS.md has other figures now; bring `{figure.what}` in benchmarks/_scale_figures.py up to date"


def test_readme_still_says_what_the_plan_is_set_against() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme[readme.index("## Real Japan") :]
    for words in (
        "900,000 pictures are 250 GB",
        "50,000 coverage tiles a day",
        "13 to 17 hours",
        "10 s to 5 min",
        "docs/scale.md",
    ):
        assert words in table


class Noted:
    """Stands where a client would, and notes the limits that a provider asks it to keep."""

    def __init__(self) -> None:
        self.limits: dict[str, dict[str, float]] = {}
        self.redaction = self

    def hide(self, secret: str) -> None:
        pass

    def limit(self, host: str, *, service: str, **limits: float) -> None:
        self.limits[host] = limits


def test_the_limits_of_the_plan_are_those_that_the_code_keeps() -> None:
    mapillary, others = Noted(), Noted()
    MapillaryProvider(mapillary, "MLY|a|b")  # type: ignore[arg-type]
    assert mapillary.limits[TILES_HOST] == {"per_second": f.TILES_PER_S.value.low, "per_day": f.TILES_A_DAY.value.low}
    assert mapillary.limits[GRAPH_HOST] == {"per_second": f.ENTITIES_PER_S.value.low}
    PanoramaxProvider(others)  # type: ignore[arg-type]
    KartaViewProvider(others)  # type: ignore[arg-type]
    assert [one["per_second"] for one in others.limits.values()] == [f.OTHERS_PER_S.value.low] * 2
    assert f.BOX_DEG2.value.high < LARGEST_BOX_DEG2
    assert f.SEARCH_ANSWER.value.low == SEARCH_LIMIT
    assert DailyBudget("a service", 1).block == f.BUDGET_BLOCK.value.low


def test_the_settings_of_the_plan_are_those_of_the_code() -> None:
    assert TrainingConfig().global_batch == f.GLOBAL_BATCH.value.low
    assert SHARES["train"] == f.TRAIN_SHARE.value.low
    assert SETTINGS["japan"].memory_limit_bytes == f.EXTRACT_MEMORY_BYTES.value.low


@pytest.mark.parametrize("size", places())
@pytest.mark.parametrize("is_cured", CURED)
def test_more_nodes_are_never_slower(size: m.Size, is_cured: bool) -> None:
    for fewer, more in pairwise(m.NODES):
        slow, fast = (m.total_days(size, nodes=nodes, is_cured=is_cured) for nodes in (fewer, more))
        assert fast.low <= slow.low
        assert fast.high <= slow.high


@pytest.mark.parametrize("size", places())
@pytest.mark.parametrize("is_cured", CURED)
def test_no_number_of_nodes_comes_below_what_the_services_allow(size: m.Size, is_cured: bool) -> None:
    floor = m.floor_days(size, is_cured=is_cured)
    for nodes in m.NODES:
        days = m.total_days(size, nodes=nodes, is_cured=is_cured)
        assert days.low >= floor.low
        assert days.high >= floor.high
    assert m.floor_days(size, is_cured=False).low >= size.tiles.low / 50_000


@pytest.mark.parametrize("size", places())
def test_the_cures_make_nothing_slower(size: m.Size) -> None:
    for nodes in m.NODES:
        now, cured = (m.total_days(size, nodes=nodes, is_cured=is_cured) for is_cured in CURED)
        assert cured.low <= now.low
        assert cured.high <= now.high


def test_a_larger_place_has_more_of_everything_and_costs_more() -> None:
    for smaller, larger in pairwise(m.SIZES):
        sums = [
            (
                one.points, one.pictures, one.tiles, one.partitions, m.in_all(*m.stored_bytes(one).values()),
                m.in_all(*m.euros_once(one).values()), m.in_all(*m.euros_monthly(one).values()), m.euros_held(one),
            )
            for one in (smaller, larger)
        ]  # fmt: skip
        for less, more in zip(*sums, strict=True):
            assert less.low < more.low
            assert less.high < more.high


def test_twice_the_pictures_take_twice_the_gpu_and_four_times_the_evaluation() -> None:
    one, two = (m.in_all(*m.gpu_hours(Span(n, n)).values()) for n in (1e6, 2e6))
    assert two.low == pytest.approx(2 * one.low)
    japan = m.SIZES[0]
    twice = m.Size(**{**vars(japan), "pictures": japan.pictures * 2})
    assert m.core_hours(twice)[m.EVERY_QUERY].high == pytest.approx(4 * m.core_hours(japan)[m.EVERY_QUERY].high)
    assert m.euros_once(twice)["GPU"].high == pytest.approx(2 * m.euros_once(japan)["GPU"].high)


def test_japan_agrees_with_what_the_code_and_the_run_book_reckon() -> None:
    japan = m.SIZES[0]
    assert japan.tiles.low <= 94_000 <= japan.tiles.high  # sources/street_view_tiles.py
    assert japan.pictures.low <= scale.README_PICTURES <= japan.pictures.high
    hours = m.gpu_hours(Span(902_858, 902_858))[m.TRAINING]
    assert hours.low <= 13 <= hours.high  # docs/training.md: 13 to 17 hours
    assert hours.low <= 17 <= hours.high


def test_the_words_around_the_tables_follow_from_them() -> None:
    japan, asia, world = (m.total_days(size, nodes=10, is_cured=False) for size in m.SIZES)
    assert japan.high < 7, "Japan takes days"
    assert asia.low > 25, "Asia one"
    assert asia.high < 75, "to two and a half months"
    assert world.low > 120, "the world four months"
    assert world.high > 365, "to more than a year"
    ten, fifty = (m.total_days(m.SIZES[2], nodes=nodes, is_cured=True) for nodes in (10, 50))
    assert ten.high < 31, "ten nodes do for the world"
    assert fifty.low > 0.97 * ten.low, "fifty bring next to nothing more"
    assert fifty.high > 0.97 * ten.high
    assert set(m.GPUS.values()) == {1, 8}, "one machine with eight H200"


def test_what_breaks_stands_in_order_and_is_reached_by_the_right_places() -> None:
    growing = breaks.growing()
    assert [one.place for one in growing] == sorted(one.place for one in growing)
    tiles = growing[0]
    assert tiles.what.startswith("Mapillary's budget of tiles")
    assert breaks.reached_by(tiles) == "Asia"
    assert "nobody" in {breaks.reached_by(one) for one in growing}
    assert all(one.who for one in breaks.fixed())


def test_a_span_keeps_its_ends_in_order() -> None:
    with pytest.raises(ValueError, match="no span"):
        Span(2, 1)
    assert Span(1, 2) / Span(2, 4) == Span(0.25, 1.0)
    assert Span(1, 2) * 3 + 1 == Span(4, 7)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0312, "0.03"),
        (0.32, "0.32"),
        (4.13, "4.1"),
        (56_400, "56,000"),
        (996_000, "1.0 M"),
        (9.96, "10"),
        (1_440_000, "1.4 M"),
    ],
)
def test_numbers_are_told_to_two_digits(value: float, words: str) -> None:
    assert f.number(value) == words
