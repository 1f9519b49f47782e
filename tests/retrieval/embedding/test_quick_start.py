"""A command that answers a photo does not load torch's compiler; whoever compiles still can."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from geoloc_pipeline.retrieval.embedding.quick_start import compiler_put_off
with compiler_put_off():
    from geoloc_pipeline.retrieval.answering.desk import Desk
import torch.compiler
print("torch._dynamo" in sys.modules, "torch._dynamo.utils" in sys.modules, torch.compiler.disable.__module__)
from torch._dynamo.utils import is_compile_supported
print(is_compile_supported("cpu"))
with compiler_put_off():
    print(torch.compiler.disable.__module__)
"""


def test_the_compiler_stays_unloaded_and_comes_back_when_it_is_wanted():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["False False torch.compiler", "True", "torch.compiler"]
