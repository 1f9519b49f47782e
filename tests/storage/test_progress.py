"""Progress is told to whoever looks."""

from __future__ import annotations

from pathlib import Path

from geoloc_pipeline.storage.progress import Progress, read_progress


def test_the_last_word_is_always_told(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "p.json", total=3, unit="images")
    for _ in range(3):
        progress.advance()
    assert read_progress(tmp_path / "p.json") == (3, 3, "images")


def test_nothing_told_reads_as_nothing_and_nobody_need_watch(tmp_path: Path) -> None:
    assert read_progress(tmp_path / "none.json") == (0, 0, "")
    progress = Progress()
    progress.tell(5, total=9, unit="x")
    assert (progress.done, progress.total) == (5, 9)
