"""Loading torch and timm without torch's compiler, for commands that somebody waits for.

torchvision (which timm loads) and timm itself ask the compiler for one function and one decorator while they are imported, and
with it come three seconds of modules that a process which compiles nothing never uses. Here both get stand-ins for as long as
the imports take.
"""

from __future__ import annotations

import sys
import types
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPILER = "torch._dynamo"
_ASKED = f"{_COMPILER}.utils"


@contextmanager
def compiler_put_off() -> Iterator[None]:
    """Let what is imported inside do without torch's compiler; nothing changes where it is loaded already.

    The trap: functions that timm marks as "not to be compiled" lose that mark, so this is only for processes that never call
    `torch.compile`: answering a photo, not training or embedding.

    Yields:
        None.
    """
    if _COMPILER in sys.modules:
        yield
        return
    import torch.compiler

    marker = torch.compiler.disable
    stand_in = types.ModuleType(_ASKED)
    stand_in.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    sys.modules[_ASKED] = stand_in
    torch.compiler.disable = _unmarked  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compiler.disable = marker
        if sys.modules.get(_ASKED) is stand_in:
            del sys.modules[_ASKED]


def _is_compile_supported(_: object) -> bool:
    """Say what torchvision asks before it compiles an operator: not in this process."""
    return False


def _unmarked(function: Any = None, *_: object, **__: object) -> Any:
    """Stand in for `torch.compiler.disable`, with and without arguments."""
    keep: Callable[[Any], Any] = lambda same: same  # noqa: E731 -- a decorator that does nothing
    return keep if function is None else function
