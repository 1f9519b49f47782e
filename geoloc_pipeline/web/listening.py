"""The socket that the search page listens on, with a clear message when it cannot be had."""

from __future__ import annotations

import socket

from geoloc_pipeline.errors import SettingError

_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """Return a socket on which visitors may knock already.

    Args:
        host: Name or address of this machine.
        port: 0 takes any free one.

    Returns:
        The socket.

    Raises:
        SettingError: The port is taken or not allowed, or the address is not of this machine.
    """
    if not 0 <= port <= 65535:
        raise SettingError(setting="--port", value=port, cure="give a number from 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except socket.gaierror as error:
        cure = f"name an address of this machine ({error.strerror})"
        raise SettingError(setting="--host", value=host, cure=cure) from error
    except OSError as error:
        cure = f"choose another one, or --port 0 for any free one ({error.strerror})"
        raise SettingError(setting="--host and --port", value=f"{host}:{port}", cure=cure) from error


def url_of(listening: socket.socket) -> str:
    """Return the address at which a browser finds the socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
