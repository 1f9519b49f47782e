"""The street-view providers by name: which are asked, in which order, and with whose keys.

Open data first: Google is known by name, and never asked unless it is named.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import MissingKeyError, SettingError
from geoloc_pipeline.sources import google, kartaview, mapillary, panoramax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.street_view import StreetViewProvider

PROVIDERS = (mapillary.SOURCE, panoramax.SOURCE, kartaview.SOURCE)
"""Who is asked without being named, in this order."""
KNOWN = (*PROVIDERS, google.SOURCE)
ORDER_VARIABLE = "GEOLOC_STREET_VIEW"


def read_order(told: str) -> tuple[str, ...]:
    """Return the providers that a setting names, in its order; the open ones when it names none.

    Args:
        told: Names with blanks or commas between, in any case.

    Raises:
        SettingError: A name is unknown, or comes twice.
    """
    names = tuple(name for name in re.split(r"[\s,]+", told.lower()) if name)
    if set(names) - set(KNOWN) or len(set(names)) < len(names):
        cure = f"name each provider once, with blanks between, in the order in which to ask: any of {', '.join(KNOWN)}"
        raise SettingError(setting=ORDER_VARIABLE, value=told, cure=cure)
    return names or PROVIDERS


def open_provider(name: str, http: AsyncHttpClient, environ: Mapping[str, str]) -> StreetViewProvider:
    """Return a provider with its keys; asks nothing yet.

    Args:
        name: One of `KNOWN`.
        http: Who asks.
        environ: Environment variables, or what stands in for them.

    Raises:
        MissingKeyError: Its key is not set.
        TermsNotAcceptedError: It is Google, and nobody has said that they may.
        SettingError: The name is unknown, or a key cannot be read.
    """
    if name == mapillary.SOURCE:
        token = environ.get(mapillary.TOKEN_VARIABLE, "")
        if not token.strip():
            others = " ".join(one for one in PROVIDERS if one != name)
            cure = f'{mapillary.HOW_TO_OBTAIN}; or go on without Mapillary: set {ORDER_VARIABLE}="{others}"'
            raise MissingKeyError(service=mapillary.SERVICE, variable=mapillary.TOKEN_VARIABLE, how_to_obtain=cure)
        return mapillary.MapillaryProvider(http, token)
    if name == panoramax.SOURCE:
        return panoramax.PanoramaxProvider(http)
    if name == kartaview.SOURCE:
        return kartaview.KartaViewProvider(http)
    if name == google.SOURCE:
        return google.GoogleProvider(
            http,
            key=environ.get(google.KEY_VARIABLE, ""),
            signing_secret=environ.get(google.SECRET_VARIABLE, ""),
            accepted_terms=environ.get(google.TERMS_VARIABLE, ""),
        )
    raise SettingError(setting=ORDER_VARIABLE, value=name, cure=f"name any of {', '.join(KNOWN)}")
