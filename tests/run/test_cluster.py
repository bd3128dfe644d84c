import itertools
import os

import pytest

from defocus_lib.run import cluster


def square(value):
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value**2


def test_in_this_process_jobs_are_done_one_by_one_when_they_are_asked_for():
    with cluster.workers() as client:
        assert client is None
        results = cluster.as_they_finish(square, itertools.count(), client)
        assert list(itertools.islice(results, 4)) == [0, 1, 4, 9]


@pytest.fixture(scope="module")
def two():
    with cluster.workers(2) as client:
        yield client


@pytest.mark.slow
def test_two_workers_share_the_cores(two):
    threads = two.run(lambda: (os.getpid(), os.environ["OMP_NUM_THREADS"]))
    assert len({pid for pid, _ in threads.values()} | {os.getpid()}) == 3
    assert {int(count) for _, count in threads.values()} == {max(1, (os.cpu_count() or 1) // 2)}


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("2, 5", 2, ["2", "5"]),
        ("GPU-4a,GPU-7b", 2, ["GPU-4a", "GPU-7b"]),
        ("0,7", 1, ["0"]),  # CUDA stops at the first number that is no card
        ("", 0, []),
    ],
)
def test_cards_are_those_that_the_process_may_use(monkeypatch, visible, count, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert cluster.cards() == expected


@pytest.mark.slow
def test_each_worker_sees_a_card_of_its_own(monkeypatch):
    monkeypatch.setattr(cluster, "cards", lambda: ["3", "GPU-7b"])
    with cluster.workers(3) as client:
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) == ["3", "3", "GPU-7b"]


@pytest.mark.slow
def test_workers_keep_freed_memory_instead_of_having_it_cleared_anew(two):
    found = two.run(lambda: dict(os.environ))
    assert all(cluster.FREED_MEMORY_KEPT.items() <= one.items() for one in found.values())


@pytest.mark.slow
def test_a_cluster_leaves_the_environment_as_it_was():
    before = dict(os.environ)
    with cluster.workers(2):
        pass
    assert dict(os.environ) == before


@pytest.mark.slow
def test_all_jobs_are_done_and_few_are_handed_out_at_once(two):
    taken = []

    def jobs():
        for value in range(40):
            taken.append(value)
            yield value

    results = cluster.as_they_finish(square, jobs(), two)
    first = next(results)
    assert len(taken) <= 2 * cluster.AHEAD
    assert sorted([first, *results]) == [value**2 for value in range(40)]


@pytest.mark.slow
def test_a_failing_job_is_raised(two):
    with pytest.raises(ValueError, match="-3 is negative"):
        list(cluster.as_they_finish(square, [1, 2, -3, 4], two))
    assert sorted(cluster.as_they_finish(square, [1, 2], two)) == [1, 4], "the cluster goes on"


@pytest.mark.slow
def test_a_running_scheduler_is_used(two):
    with cluster.workers(scheduler=two.scheduler.address) as client:
        assert client.scheduler_info()["address"] == two.scheduler.address
        assert sorted(cluster.as_they_finish(square, range(3), client)) == [0, 1, 4]


def test_a_process_for_each_core_of_the_share(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # as a notebook beside another has it
    with cluster.workers(0) as client:
        assert client is None


@pytest.mark.slow
def test_what_can_not_work_is_refused():
    with pytest.raises(ValueError, match="n_workers is -1; at least 0 wanted"), cluster.workers(-1):
        pass
    nobody = "tcp://127.0.0.1:1"
    with (
        pytest.raises(OSError, match=f"no Dask scheduler answers at '{nobody}'"),
        cluster.workers(scheduler=nobody),
    ):
        pass


@pytest.mark.slow
def test_workers_that_come_later_get_work(two):
    """A scheduler that a batch system fills slowly: jobs wait for the first worker, and the others
    are used."""
    from distributed import LocalCluster

    empty = LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=False
    )
    with empty, cluster.workers(scheduler=empty.scheduler_address) as client:
        results = cluster.as_they_finish(square, iter(range(12)), client)
        empty.scale(3)
        assert sorted(results) == [value**2 for value in range(12)]
        assert sum(client.nthreads().values()) == 3
