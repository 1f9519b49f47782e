"""How long a run that waits for a pool sleeps: Dagster 1.13 does not sleep at all when its steps stay in one process.

https://docs.dagster.io/guides/operate/managing-concurrency

Belongs here: the one function of Dagster that is replaced, and why; it goes when Dagster's own is right.
Does not belong here: pools (`dagster.yaml`), which asset is in which (`assets`).
"""

import time

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext


def _seconds_to_next_claim(waiting: InstanceConcurrencyContext) -> float:
    """Return how many seconds are left until the first waiting step may ask for its slot again.

    Dagster takes the least of these times and 0, so it asks without a pause, and a run that waits keeps a core busy for as
    long as another one collects.
    """
    now_s = time.time()
    return max(0.0, min((at_s - now_s for at_s in waiting._pending_timeouts.values()), default=0.0))


def mend() -> None:
    """Let runs sleep while they wait for a pool."""
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _seconds_to_next_claim  # type: ignore[assignment,method-assign]
