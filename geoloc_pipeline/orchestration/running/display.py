"""The chain's progress in a terminal: one table that is redrawn, or one line a step where nobody can redraw.

Belongs here: how a `ChainState` looks. Does not belong here: where it comes from (`chain.py`).
"""

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from geoloc_pipeline.orchestration.running.chain import ChainState, StepState

QUIET_S = 15.0


class ChainDisplay:
    """Shows the chain while it runs; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._live: Live | None = None
        self._told: set[str] = set()
        self._started_s = time.monotonic()
        self._spoke_s = self._started_s
        self._first_seen: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> "ChainDisplay":
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4)
            self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def show(self, state: ChainState) -> None:
        """Show the state; called a few times a second."""
        if self._live:
            self._live.update(self._table(state))
        else:
            self._speak(state)

    def _speed(self, name: str, step: StepState) -> tuple[float, float | None]:
        """Return things per second since this step was first seen at work, and the seconds it still needs."""
        now_s = time.monotonic()
        if step.finished >= step.partitions:
            return (step.done / step.seconds if step.seconds else 0.0), 0.0
        first_s, first_done = self._first_seen.setdefault(name, (now_s, step.done))
        elapsed_s, done = now_s - first_s, step.done - first_done
        rate = done / elapsed_s if elapsed_s > 1 and done > 0 else 0.0
        return rate, ((step.total - step.done) / rate if rate and step.total else None)

    def _table(self, state: ChainState) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name, justify in (
            ("step", "left"), ("", "left"), ("parts", "right"), ("count", "right"), ("rate", "right"), ("left", "right"),
            ("took", "right"),
        ):  # fmt: skip
            table.add_column(name, justify=justify)  # type: ignore[arg-type]
        active = {asset for run in state.running for asset in run.assets}
        for name, step in state.steps.items():
            is_done, is_active = step.finished >= step.partitions, name in active and (step.done or step.finished)
            rate, left_s = self._speed(name, step) if is_done or is_active else (0.0, None)
            table.add_row(
                f"[green]✓[/] {name}" if is_done else f"[bold]▸ {name}[/]" if is_active else f"[dim]· {name}[/]",
                ProgressBar(total=max(step.partitions, 1), completed=self._share(step), width=16),
                f"{step.finished}/{step.partitions}",
                _count(step),
                f"{rate:,.0f}/s" if rate >= 1 and step.unit not in {"", "bytes", "steps"} else "",
                _clock(left_s) if left_s else "",
                _clock(step.seconds) if step.seconds >= 0.5 else "",
            )
        table.caption = f"{_clock(time.monotonic() - self._started_s)} so far"
        return table

    @staticmethod
    def _share(step: StepState) -> float:
        """Return the share of partitions that are done, counting those at work by what they have told."""
        if step.finished >= step.partitions or not step.total:
            return float(step.finished)
        return min(float(step.partitions), max(float(step.finished), step.partitions * step.done / step.total))

    def _speak(self, state: ChainState) -> None:
        total = len(state.steps)
        for index, (name, step) in enumerate(state.steps.items(), start=1):
            if step.finished >= step.partitions and name not in self._told:
                self._told.add(name)
                self.console.print(
                    f"[{index:2}/{total}] {name:20} {_count(step):>16}  {step.seconds:7.1f} s", highlight=False, markup=False
                )
                self._spoke_s = time.monotonic()
        if time.monotonic() - self._spoke_s > QUIET_S:
            self._spoke_s = time.monotonic()
            for name, step in state.steps.items():
                if step.finished < step.partitions and step.done < step.total:
                    rate, left_s = self._speed(name, step)
                    left = f", about {_clock(left_s)} left" if left_s else ""
                    self.console.print(
                        f"        {name}: {step.done:,} of {step.total:,} {step.unit}, {rate:,.0f}/s{left}",
                        highlight=False,
                        markup=False,
                    )


def _count(step: StepState) -> str:
    if step.finished >= step.partitions and step.rows is not None:
        return f"{step.rows:,} rows"
    return f"{step.done:,} {step.unit}" if step.done and step.unit else ""


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
