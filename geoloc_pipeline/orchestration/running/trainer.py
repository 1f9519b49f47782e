"""The trainer as a step starts it: where it runs, what it tells on the way, and why it ended.

https://docs.dagster.io/guides/build/external-pipelines/using-dagster-pipes
Dagster's own subprocess client would interrupt torchrun with SIGINT, on which the ranks die where they stand, and would show
the epochs only after the last one. Here they get SIGTERM, keep their last step and leave, and every epoch is an observation at
once.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import dagster as dg

from geoloc_pipeline.errors import ModelError, SettingError
from geoloc_pipeline.storage.lifeline import ANCESTOR_VARIABLE

POLL_S = 0.3
RETRIES = 2
_RETRY_AFTER_S = 1  # a GPU needs a moment to give a dead process's memory back
_LEAVE_WITHIN_S = 180  # a step, a checkpoint of some gigabytes, and torchrun's own patience
_FORWARDED = ("GEOLOC_BACKBONE_WEIGHTS", "HF_HOME", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")  # no secret: a command line is public
_TORCHRUN_SPEAKS = re.compile(r"^[WE]\d{4} .*torch/distributed/(elastic|run\.py)")
_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s+: (\d+) .*?exitcode\s+: (-?\d+)", re.DOTALL)


@dataclass(frozen=True)
class Launch:
    """How the trainer is started.

    Attributes:
        processes: On this machine, one per GPU.
        prefix: Command that runs another command somewhere else, such as `ssh -tt gpu-node`; empty: here.
        torchrun: torchrun's arguments, for several nodes; empty: one machine with `processes` ranks.
        python: Interpreter where the trainer runs; empty: this one.
    """

    processes: int = 1
    prefix: tuple[str, ...] = ()
    torchrun: tuple[str, ...] = ()
    python: str = ""

    def command(self, told_at: Path, variables: Mapping[str, str]) -> list[str]:
        """Return the command line.

        Args:
            told_at: The run file.
            variables: What the trainer needs in its environment. Behind a prefix they are part of the command: ssh, kubectl
                and the like hand no environment on.
        """
        ranks = self.torchrun or ("--standalone", f"--nproc-per-node={self.processes}")
        python = self.python or sys.executable
        command = [python, "-m", "torch.distributed.run", *ranks, "-m", "geoloc_pipeline.training", "--config", str(told_at)]
        if not self.prefix:
            return command
        command = ["env", *(f"{name}={value}" for name, value in sorted(variables.items())), *command]
        if Path(self.prefix[0]).name == "ssh":  # hands its words to a shell
            command = [shlex.quote(word) for word in command]
        return [*self.prefix, *command]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the command; ranks on this machine end when this process does."""
        outer = {name: value for name, value in os.environ.items() if name != ANCESTOR_VARIABLE}
        if self.prefix:  # a process number of this machine would mean nothing there
            return outer
        return {**outer, **variables, ANCESTOR_VARIABLE: str(os.getpid())}


@dataclass
class Heard:
    """What the trainer's processes print: passed on at once, and kept for as long as an error may need it.

    Attributes:
        lines: The last ones.
        last_words: Lines in which a rank says why it cannot go on.
    """

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=400))
    last_words: list[str] = field(default_factory=list)

    def listen(self, stream: IO[str]) -> None:
        """Hear a stream to its end."""
        for line in stream:
            sys.stdout.write(line)
            sys.stdout.flush()
            self.lines.append(line.rstrip())
            if "cannot go on (" in line:
                self.last_words.append(line.rstrip())

    def crash(self, code: int) -> ModelError:
        """Return an error that names the rank that failed first, and what was printed last before torchrun took over."""
        found = _ROOT_CAUSE.search("\n".join(self.lines))
        who, how = (f"rank {found[1]}", int(found[2])) if found else ("the launcher", code)
        said: list[str] = []
        for line in self.lines:
            if _TORCHRUN_SPEAKS.match(line):
                break
            said.append(line.strip())
        last = " | ".join([line for line in said if line][-3:])
        return ModelError(
            what="training",
            reason=f"{who} {_ending(how)}; last lines: {last or '(none)'}",
            cure="read the run's stdout and run the same step again: it goes on from its last checkpoint",
        )


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"


def run_trainer(context: dg.AssetExecutionContext, told_at: Path, launch: Launch) -> None:
    """Train, and report every epoch as an observation of the asset.

    A rank that dies has the step tried again, which goes on from the last checkpoint. What the trainer says it cannot do would
    fail again, and is raised as it is.

    Args:
        context: Dagster's context of the step.
        told_at: The run file; what Pipes needs stands beside it, so that another machine that mounts the home can be reached.
        launch: How the trainer is started.

    Raises:
        GeolocError: What a rank cannot go on with, in its own words; or a rank has died once too often.
        RetryRequested: A rank has died.
    """
    from geoloc_pipeline.training.report import read_last_words

    heard, observed = Heard(), 0
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesFileContextInjector(str(told_at.with_suffix(".context.json"))),
        message_reader=dg.PipesFileMessageReader(str(told_at.with_suffix(".messages.jsonl"))),
    ) as session:
        variables = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        variables = {"OMP_NUM_THREADS": "1", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "120", **variables}
        variables |= session.get_bootstrap_env_vars()
        process = _start(launch.command(told_at, variables), launch.environment(variables))
        listener = threading.Thread(target=heard.listen, args=(process.stdout,), daemon=True)
        listener.start()
        try:
            while process.poll() is None:
                observed = _observe(context, session, observed)
                time.sleep(POLL_S)
        finally:
            _stop(process)
        listener.join(timeout=10)
    _observe(context, session, observed)
    if process.returncode:
        error = read_last_words(heard.last_words)
        if error is not None:
            raise error
        crash = heard.crash(process.returncode)
        if context.retry_number >= RETRIES:
            raise crash
        context.log.error(str(crash))
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=_RETRY_AFTER_S) from crash


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    try:  # in a session of its own: Ctrl-C is for this process, which then asks the trainer to leave
        return subprocess.Popen(command, env=environment, start_new_session=True, **options)
    except OSError as error:
        cure = f"name a program of this machine in `launch` and `python` ({error.strerror})"
        raise SettingError(setting="the training command", value=shlex.join(command[:3]), cure=cure) from error


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask a trainer that still runs to keep its last step and leave; insist after a while."""
    if process.poll() is not None:
        return
    try:
        process.terminate()
        process.wait(timeout=_LEAVE_WITHIN_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        if process.poll() is None:
            process.kill()


def _observe(context: dg.AssetExecutionContext, session: dg.PipesSession, observed: int) -> int:
    """Report the epochs told since the last look, each as an observation whose numbers the UI draws.

    Returns:
        How many messages there are by now.
    """
    told = session.get_custom_messages()
    for message in told[observed:]:
        if isinstance(message, dict) and "epoch" in message:
            context.log_event(dg.AssetObservation(asset_key=context.asset_key, metadata=figures(message["epoch"])))
    return len(told)


def figures(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the few numbers of an epoch that are worth a curve each.

    Args:
        record: A line of `metrics.jsonl`.

    Returns:
        `epoch` from 1, the losses, the learning rate, the speed, and the share of right answers by head.
    """
    names = ("train_loss", "val_loss", "lr", "images_per_s")
    figures = {name: float(record[name]) for name in names if name in record}
    accuracies = {f"val_accuracy_{task}": float(share) for task, share in record.get("val_accuracy", {}).items()}
    return {"epoch": record["epoch"] + 1, **figures, **accuracies}
