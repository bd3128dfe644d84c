"""Independent jobs: in this process, or by Dask in several processes or on several machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from joblib import cpu_count

if TYPE_CHECKING:
    from distributed import Client, Nanny

Job = TypeVar("Job")
Result = TypeVar("Result")

# For glibc, which by default returns large freed blocks to the system, and has each cleared when it
# is asked for anew. Dask's own setting returns even small ones: a step of training then takes up to
# three times as long.
FREED_MEMORY_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
# Jobs handed out before their worker is free: it never waits, and the scheduler never holds more
# than these.
AHEAD = 2


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, 0 for as many as it does.

    How many they are decides the order of the sums in a backward pass, and so the last digits of
    what is trained. A fixed number gives the same on every machine.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> AbstractContextManager[None]:
    """:func:`threads` for jobs side by side, which do not fight for cores then."""
    return threads(1)


@contextmanager
def workers(count: int = 1, scheduler: str = "") -> Iterator[Client | None]:
    """A Dask client of the processes that compute, or ``None`` for this process.

    Parameters
    ----------
    count : int
        From 2 on, so many processes of a local cluster, which share the cores. Each has a graphics
        card of its own, in turn, where there are any. 0 is one process for each core that this one
        may use: a notebook that runs beside another has its share of them.
    scheduler : str
        Address of a running Dask scheduler, ``tcp://host:8786``, which replaces ``count``; its
        workers see the same folders. Raises ``OSError`` if it does not answer.
    """
    if count < 0:
        raise ValueError(f"n_workers is {count}; at least 0 wanted")
    count = count or cpu_count()
    if scheduler:
        with _running(scheduler) as client:
            yield client
    elif count == 1:
        yield None
    else:
        import dask
        from distributed import Client, LocalCluster, Nanny

        threads = str(max(1, cpu_count() // count))
        environment = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads
        )
        # One job a worker at a time. No limit on memory: the size of a batch bounds it, and half of
        # a machine that others use too says nothing.
        options = {"threads_per_worker": 1, "memory_limit": None}
        kind = _with_cards(Nanny, cards())
        inherited = {"distributed.nanny.pre-spawn-environ": environment | FREED_MEMORY_KEPT}
        with _environment_kept(), dask.config.set(inherited):
            local = LocalCluster(
                n_workers=count, worker_class=kind, dashboard_address="127.0.0.1:0", **options
            )
            with local, Client(local) as client:
                yield client


def cards() -> list[str]:
    """The graphics cards that this process may use, as CUDA_VISIBLE_DEVICES calls them."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [card.strip() for card in visible.split(",") if card.strip()]
    return (named or list(map(str, range(count))))[:count]


def _with_cards(worker: type[Nanny], cards: list[str]) -> type[Nanny]:
    """Workers that each see one of the cards: the variable is set before anything asks for them."""
    if not cards:
        return worker

    class OneCard(worker):  # type: ignore[valid-type,misc]
        def __init__(self, *args: Any, name: int, **options: Any):
            environment = {"CUDA_VISIBLE_DEVICES": cards[name % len(cards)]}
            super().__init__(*args, name=name, env=environment, **options)

    return OneCard


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Dask sets variables (one thread, among others) that later child processes of ours would
    inherit."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _running(scheduler: str) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise OSError(
            f"no Dask scheduler answers at {scheduler!r} ({error or type(error).__name__})"
        ) from error


def as_they_finish(
    function: Callable[[Job], Result], jobs: Iterable[Job], client: Client | None
) -> Iterator[Result]:
    """``function`` of each job, in the order in which they end.

    ``function``, jobs and results are picklable. What a worker leaves undone when it dies, others
    do. The first job that fails raises; the others are cancelled.
    """
    jobs = iter(jobs)
    if client is None:
        yield from map(function, jobs)
        return
    from distributed import as_completed

    running = as_completed([])

    def hand_out() -> None:
        slots = AHEAD * max(
            1, sum(client.nthreads().values())
        )  # anew each time: workers come and go
        more = islice(jobs, max(0, slots - running.count()))
        running.update([client.submit(function, job, pure=False) for job in more])

    hand_out()
    try:
        for future in running:
            yield future.result()
            hand_out()
    finally:
        client.cancel(list(running.futures))
