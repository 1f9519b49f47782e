"""An answer in words for people: one line for the place, a sentence for the confidence, a few lines for a terminal."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from geoloc_pipeline.evaluation.pages import km

if TYPE_CHECKING:
    from geoloc_pipeline.retrieval.answering.answer import Answer

UNFAMILIAR = 0.05
"""Below this familiarity the text warns: 19 of 20 validation pictures were more like the gallery."""


def place_words(answer: Answer) -> str:
    """Return the names of the place in one line; what it means when there are none."""
    named = " ".join(answer.names[level] for level in ("prefecture", "municipality", "town") if answer.names.get(level))
    if named:
        return named
    return "in no known town block (sea, or a prefecture not loaded)" if answer.is_in_box else "outside Japan"


def confidence_words(answer: Answer) -> str:
    """Return how sure the answer is, in a few sentences for people."""
    known = [
        f"within {km(radius)} of the answer in {level} of 100 cases" if level == 50 else f"within {km(radius)} in {level}"
        for level, radius in ((50, answer.region_50_km), (90, answer.region_90_km))
        if radius is not None
    ]
    said = [f"Photos like this were taken {', and '.join(known)}." if known else answer.regions_text]
    said.append(f"{answer.neighbours_within(25.0)} of {len(answer.neighbours)} neighbours lie within 25 km of it.")
    if answer.familiarity is not None and answer.familiarity < UNFAMILIAR:
        said.append(
            f"It is like nothing known: only {100 * answer.familiarity:.1f} of 100 validation pictures were as little like the "
            "gallery (indoors, at night, from the air, abroad?)."
        )
    if answer.is_on_land is False:
        said.append("The place lies in no known town block: it may be in the sea.")
    return " ".join(said)


def describe(answer: Answer, *, most: int = 5) -> str:
    """Return the answer as a few lines for a terminal.

    Args:
        answer: To tell.
        most: How many neighbours are listed.

    Returns:
        Lines without a final newline.
    """
    lines = [
        f"{answer.lat:.5f}, {answer.lon:.5f}   {_printable(place_words(answer))}",
        f"  {confidence_words(answer)}",
        f"  read-out {answer.readout}; {osm_link(answer)}",
    ]
    if answer.is_abstained:
        lines = [answer.abstain_text, "The best guess would have been:", *lines]
    if answer.heads:
        lines.append(f"  the heads say: {_head_words(answer)}")
    if answer.neighbours:
        lines.append("   rank  similarity  from answer   place                  picture")
    for n in answer.neighbours[:most]:
        lines.append(
            f"  {n.rank:>5}  {n.score:>10.3f}  {km(n.distance_km):>11}   {n.lat:.5f}, {n.lon:.5f}".ljust(58)
            + _printable(n.image_id)
        )
    rest = len(answer.neighbours) - most
    return "\n".join([*lines, f"  … and {rest} more"] if rest > 0 else lines)


def _head_words(answer: Answer) -> str:
    best = [(task, guesses[0]) for task, guesses in answer.heads.items() if guesses]
    return ", ".join(f"{task} {_printable(guess.name or guess.code)} ({100 * guess.probability:.0f} %)" for task, guess in best)


def _printable(text: str) -> str:
    """Return text without control characters, so that an id cannot steer a terminal."""
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in text)


def osm_link(answer: Answer) -> str:
    """Return the address at which OpenStreetMap shows the place; only for people to follow."""
    place = f"{answer.lat:.5f}/{answer.lon:.5f}"
    return f"https://www.openstreetmap.org/?mlat={answer.lat:.5f}&mlon={answer.lon:.5f}#map=14/{place}"
