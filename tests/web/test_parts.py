"""Forms are cut exactly at their boundaries, whatever the photos' bytes are."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.web.parts import MOST_PARTS, Part, file_parts, is_multipart


def form(files: list[tuple[str, bytes]]) -> tuple[bytes, str]:
    request = httpx.Request("POST", "http://127.0.0.1", files=[("photo", file) for file in files], data={"note": "a field"})
    return request.read(), request.headers["content-type"]


@given(st.lists(st.binary(max_size=300).map(lambda data: data + b"\r\n--\r\n"), max_size=4), st.binary(max_size=9000))
def test_what_another_program_wrote_is_read_back(photos: list[bytes], large: bytes) -> None:
    files = [(f"写真{number}.jpg", data) for number, data in enumerate([*photos, large])]
    body, content_type = form(files)
    assert is_multipart(content_type)
    assert file_parts(body, content_type) == [Part(*file) for file in files]


def test_a_name_keeps_no_folders() -> None:
    body, content_type = form([("../../etc/passwd", b"x"), ("C:\\photos\\a.jpg", b"y")])
    assert [part.name for part in file_parts(body, content_type)] == ["passwd", "a.jpg"]


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"]
)
def test_a_form_without_its_boundary_is_refused(content_type: str) -> None:
    body, _ = form([("a.jpg", b"x")])
    with pytest.raises(SettingError, match="boundary"):
        file_parts(body, content_type)


def test_a_form_that_was_cut_short_is_refused() -> None:
    body, content_type = form([("a.jpg", b"x" * 100)])
    with pytest.raises(SettingError, match="last boundary"):
        file_parts(body[:-40], content_type)


def test_a_form_of_countless_parts_is_refused_before_it_is_cut() -> None:
    with pytest.raises(SettingError, match=str(MOST_PARTS)):
        file_parts(b"--b\r\n" * (MOST_PARTS + 2) + b"--b--", "multipart/form-data; boundary=b")
