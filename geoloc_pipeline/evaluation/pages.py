"""Pages that are one file: style inside, pictures inside, nothing fetched when they are opened.

Belongs here: the Jinja environment, the style that all pages share, how figures are written for people, the rule that a
page may not load anything.
Does not belong here: what a page says (`report`, `retrieval.evidence`).
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Mapping


def km(value: float | None) -> str:
    """Return a distance for people: `350 m`, `4.2 km`, `1,203 km`; a dash when it is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value < 0.9995:
        return f"{value * 1000:,.0f} m"
    return f"{value:,.1f} km" if value < 99.95 else f"{value:,.0f} km"


def pct(value: float | None) -> str:
    """Return a share for people: `83.7 %`; a dash when it is not known."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.1f} %"


def number(value: Any) -> str:
    """Return a figure for people: whole numbers with separators, other numbers with three digits, the rest as it is."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def seconds(value: float) -> str:
    """Return a duration for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def safe_link(url: str | None) -> str:
    """Return `url` when it leads to a web page; empty otherwise, so that no link of a stranger runs a script."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return ""
    return (url or "") if parts.scheme in {"http", "https"} and parts.netloc else ""


def data_uri(data: bytes, media_type: str) -> str:
    """Return bytes as a `data:` address."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


@lru_cache(maxsize=8)
def _environment(package: str) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(km=km, pct=pct, number=number, seconds=seconds, safe_link=safe_link)
    return environment


def render_page(package: str, template: str, values: Mapping[str, Any], *, script: str = "") -> str:
    """Return a page as HTML.

    The page carries a content security policy under which a browser loads nothing but `data:` pictures and runs no script but
    the one that is handed in, even if a name that came from a stranger had slipped through unescaped.

    Args:
        package: Where the template lies, such as `geoloc_pipeline.evaluation`.
        template: File name of the template.
        values: What the template may use; everything is escaped unless it is `Markup`.
        script: JavaScript of ours for the end of the page; empty: none.

    Returns:
        The whole page.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    run = f"'sha256-{digest}'" if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {run}; base-uri 'none'; form-action 'none'"
    )
    style = (resources.files("geoloc_pipeline.evaluation") / "page.css").read_text(encoding="utf-8")
    page = _environment(package).get_template(template)
    return page.render({**values, "policy": policy, "style": Markup(style), "script": Markup(script)})  # noqa: S704 -- both are ours
