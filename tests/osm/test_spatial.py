"""DuckDB's spatial extension comes from the wheel, into whatever home there is."""

from __future__ import annotations

import os
import subprocess
import sys

import duckdb

from geoloc_pipeline.osm.spatial import ensure_spatial

_TRY = "from geoloc_pipeline.osm.spatial import ensure_spatial; ensure_spatial(); ensure_spatial(); print('loaded')"


def in_a_home(home):
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run([sys.executable, "-c", _TRY], env=environment, capture_output=True, text=True, check=False)


def test_any_connection_can_load_it_afterwards():
    ensure_spatial()
    with duckdb.connect() as connection:
        connection.load_extension("spatial")
        assert connection.execute("SELECT ST_AsText(ST_Point(1, 2))").fetchone() == ("POINT (1 2)",)


def test_a_fresh_home_gets_it_from_the_wheel(tmp_path):
    done = in_a_home(tmp_path)
    assert done.stdout == "loaded\n", done.stderr
    assert list(tmp_path.rglob("spatial.duckdb_extension"))


def test_a_home_that_cannot_be_written_is_told_with_the_cure(tmp_path):
    home = tmp_path / "file"
    home.write_text("not a folder")
    done = in_a_home(home)
    assert done.returncode != 0
    assert "MissingInputError" in done.stderr
    assert "duckdb-extension-spatial==1.5.5" in done.stderr
