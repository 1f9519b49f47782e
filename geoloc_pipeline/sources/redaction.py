"""Secrets out of sight: no token, key or signature reaches a message, a log line or a file.

Whatever is shown of a request goes through `Redaction.clean`, which knows the names that secrets travel under and the very
secrets that this process holds.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import quote, quote_plus

HIDDEN = "***"

# Query parameters that carry secrets or signatures: ours (access_token, key) and those of signed links (oh, oe, sig, X-Amz-…).
# `pKey` (Mapillary's public page) and `code` (e-Stat's prefecture) are no secrets and stay.
_PARAMETER = re.compile(
    r"""([?&;\s"']|%3F|%26|^)((?:[\w.]+[_-])*(?:token|accesstoken|key|apikey|signature|secret|password|credential|policy|auth)|"""
    r"""sig|oh|oe)(=|%3D)([^&;\s"'<>]+)""",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"""(authorization|x-api-key|cookie)(["']?\s*[:=,]\s*b?["']?)((?:oauth|bearer|basic)\s+)?[^\s"',;)]+""", re.IGNORECASE
)
_SCHEME = re.compile(r"\b(OAuth|Bearer|Basic)\s+[\w|.%+/=~-]{6,}")
_MAPILLARY = re.compile(r"MLY(?:\||%7C)[^\s&\"'<>]+", re.IGNORECASE)
_USERINFO = re.compile(r"(://)[^/\s@:]+:[^/\s@]+@")

_TALKATIVE = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy", "httpcore.socks")


class Redaction:
    """What must not be shown, and how it is hidden."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def hide(self, secret: str) -> None:
        """Hide `secret` wherever it turns up from now on, in its URL-quoted spellings too."""
        if len(secret) >= 4:  # shorter ones would blank out ordinary words
            self._secrets |= {secret, quote(secret, safe=""), quote_plus(secret), quote(secret)}

    def clean(self, text: object) -> str:
        """Return `text` with every secret replaced by `***`."""
        shown = str(text)
        for secret in sorted(self._secrets, key=len, reverse=True):
            shown = shown.replace(secret, HIDDEN)
        shown = _MAPILLARY.sub(HIDDEN, shown)
        shown = _PARAMETER.sub(rf"\1\2\3{HIDDEN}", shown)
        shown = _HEADER.sub(rf"\1\2\3{HIDDEN}", shown)
        shown = _SCHEME.sub(rf"\1 {HIDDEN}", shown)
        return _USERINFO.sub(rf"\1{HIDDEN}@", shown)


class _CleanRecords(logging.Filter):
    """Rewrites the records of libraries that log whole URLs and headers."""

    def __init__(self, redaction: Redaction) -> None:
        super().__init__()
        self._redaction = redaction

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, cleaned."""
        record.msg, record.args = self._redaction.clean(record.getMessage()), None
        return True


def quieten_http_logs(redaction: Redaction) -> None:
    """Silence the HTTP libraries below WARNING, and clean what someone turns on again.

    httpx logs every URL at INFO with its query, so a token in it would reach any log file of the program around us.
    """
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level in {logging.NOTSET, logging.DEBUG, logging.INFO}:
            logger.setLevel(logging.WARNING)
        for former in [old for old in logger.filters if isinstance(old, _CleanRecords)]:
            logger.removeFilter(former)
        logger.addFilter(_CleanRecords(redaction))
