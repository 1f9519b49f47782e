"""What a Qdrant server's faults mean: each becomes one of ours, whether it came over HTTP or gRPC, and names the cure."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from geoloc_pipeline.errors import CollectionError, SourceRefusedError, SourceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "Qdrant"
_START = "start one (deploy/qdrant) or unset GEOLOC_QDRANT_URL"
_FULL = ("no space left", "disk", "out of space")
_FORBIDDEN = (401, 403, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_AWAY = (502, 503, 504, grpc.StatusCode.UNAVAILABLE)
_SLOW = (408, grpc.StatusCode.DEADLINE_EXCEEDED)
_DISK_FULL = 507


@contextmanager
def server_faults(url: str, *, collection: str) -> Iterator[None]:
    """Translate the client's faults; others pass.

    Args:
        url: The server's address without credentials, for messages.
        collection: Which is being worked on.

    Yields:
        None.

    Raises:
        SourceUnavailableError: The server is down, away or too slow.
        SourceRefusedError: It does not take the key.
        CollectionError: It has a fault of its own, such as a full disk, or does not know the collection.
    """
    try:
        yield
    except UnexpectedResponse as error:
        text = error.content.decode(errors="replace") if error.content else error.reason_phrase
        _raise(url, collection, error.status_code or 0, text, error)
    except grpc.RpcError as error:
        _raise(url, collection, error.code(), error.details() or "", error)
    except (ApiException, ResponseHandlingException, httpx.HTTPError) as error:
        cause = error.source if isinstance(error, ResponseHandlingException) else error
        if isinstance(cause, httpx.TimeoutException):
            _raise(url, collection, grpc.StatusCode.DEADLINE_EXCEEDED, "", error)
        if isinstance(cause, httpx.HTTPError):
            _raise(url, collection, grpc.StatusCode.UNAVAILABLE, "", error)
        _raise_stranger(url, collection, error)
    except json.JSONDecodeError as error:
        _raise_stranger(url, collection, error)


def _raise_stranger(url: str, collection: str, error: Exception) -> NoReturn:
    reason = f"{url} does not answer like Qdrant"
    raise CollectionError(collection=collection, reason=reason, cure="look at GEOLOC_QDRANT_URL") from error


def _raise(url: str, collection: str, code: int | grpc.StatusCode, text: str, error: Exception) -> NoReturn:
    told = code.name if isinstance(code, grpc.StatusCode) else str(code)
    if code in _FORBIDDEN:
        cure = "set GEOLOC_QDRANT_API_KEY to a key that may write"
        raise SourceRefusedError(service=f"{SERVICE} at {url}", reason=f"status {told}", cure=cure) from error
    if code in _SLOW:
        reason = "it took too long; a larger timeout_s in GEOLOC_QDRANT_URL waits longer"
        raise SourceUnavailableError(service=SERVICE, url=url, reason=reason) from error
    if code == _DISK_FULL or any(sign in text.lower() for sign in _FULL):
        cure = "free some space there, then run the same step again"
        reason = f"the server {url} is out of disk ({told})"
        raise CollectionError(collection=collection, reason=reason, cure=cure) from error
    if code in _AWAY:
        raise SourceUnavailableError(service=SERVICE, url=url, reason=f"it is not there; {_START}") from error
    reason = f"the server {url} says {told}: {text[:200]}"
    raise CollectionError(collection=collection, reason=reason, cure="look at the server's log") from error
