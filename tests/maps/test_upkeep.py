import os
import time

import pytest

from defocus_lib.maps import upkeep
from defocus_lib.maps.storage import SUFFIX

HOUR, DAY = 3600, 24 * 3600
PRESENT = {"physical": "1" * 12, "learned": "2" * 12 + "-" + "3" * 12}


@pytest.fixture
def stored(tmp_path):
    """A function that makes a file of 1,000 bytes as if it was a map, used some seconds ago."""

    def make(name, age=0, preset="physical", version=PRESENT["physical"]):
        digest = f"{name:064x}"
        path = tmp_path / preset / version / "gaussian-48-stretch" / digest[:2] / (digest + SUFFIX)
        return aged(path, age)

    return make


def aged(path, age, size=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    os.utime(path, (time.time() - age,) * 2)
    return path


def left(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_summary_counts_what_lies_there(stored, tmp_path):
    for number in range(3):
        stored(number, age=HOUR * number)
    stored(3, DAY, "learned", PRESENT["learned"])
    stored(4, DAY, version="4" * 12)
    stored(5, DAY, preset="removed")
    aged(tmp_path / "ab" / f"{6:064x}.npz", DAY)
    aged(tmp_path / "notes.txt", DAY)
    table = upkeep.summary(tmp_path, PRESENT).set_index(["preset", "version"])
    counts = table[["maps", "bytes", "current"]].agg(tuple, axis=1).to_dict()
    assert counts == {
        ("", ""): (1, 1000, False),
        ("learned", PRESENT["learned"]): (1, 1000, True),
        ("physical", PRESENT["physical"]): (3, 3000, True),
        ("physical", "4" * 12): (1, 1000, False),
        ("removed", PRESENT["physical"]): (1, 1000, False),
    }
    assert time.time() - table["used"]["physical", PRESENT["physical"]] < 60


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert upkeep.summary(tmp_path / "none", PRESENT).empty
    assert upkeep.prune(tmp_path / "none", PRESENT, limit=0) == ((0, 0), (0, 0))


def test_outdated_maps_go_unless_they_were_used_just_now(stored, tmp_path):
    kept = {
        stored(1, DAY),
        stored(2, DAY, "learned", PRESENT["learned"]),
        stored(3, HOUR / 2, version="4" * 12),
        aged(tmp_path / "physical" / "notes.txt", DAY),
        aged(tmp_path / "someone" / "thesis.npz", DAY),
    }
    stored(4, 2 * HOUR, version="5" * 12)
    stored(5, 2 * HOUR, "removed")
    aged(tmp_path / "ab" / f"{6:064x}.npz", 2 * HOUR)
    assert upkeep.remove_outdated(tmp_path, PRESENT) == (3, 3000)
    assert left(tmp_path) == kept
    assert not any((tmp_path / name).exists() for name in ("removed", "ab", f"physical/{'5' * 12}"))


def test_the_least_recently_used_go_first(stored, tmp_path):
    ages = [3, 9, 5, 2, 7]
    paths = {age: stored(number, age * DAY) for number, age in enumerate(ages)}
    os.utime(paths[9], (time.time() - 1.5 * DAY, time.time() - 9 * DAY))  # written long ago, used
    assert upkeep.keep_limit(tmp_path, 2500) == (3, 3000)
    assert left(tmp_path) == {paths[9], paths[2]}
    assert upkeep.keep_limit(tmp_path, 2000) == (0, 0)


def test_maps_of_the_last_day_stay_above_the_limit(stored, tmp_path):
    kept = {stored(number, age) for number, age in enumerate([0, HOUR, 20 * HOUR])}
    stored(9, 2 * DAY)
    with pytest.warns(UserWarning, match=r"holds 3e-06 GB, above the limit of 0 GB .*last 24 h"):
        assert upkeep.keep_limit(tmp_path, 0) == (1, 1000)
    assert left(tmp_path) == kept
    with pytest.warns(UserWarning, match="within the last 1 h"):
        assert upkeep.keep_limit(tmp_path, 0, spared=HOUR) == (2, 2000)


def test_a_use_is_marked_and_the_time_of_writing_kept(stored):
    path = stored(1, 3 * DAY)
    written = path.stat().st_mtime
    assert upkeep.mark_used(path)
    assert time.time() - path.stat().st_atime < 60 and path.stat().st_mtime == written
    assert not upkeep.mark_used(path.with_name("none"))
    path.write_bytes(b"")
    assert not upkeep.mark_used(path)


@pytest.mark.parametrize(("given", "gigabytes"), [("", 20), ("0", 0), ("1.5", 1.5)])
def test_the_limit_is_a_variable(monkeypatch, given, gigabytes):
    monkeypatch.setenv("DEFOCUS_MAPS_GB", given)
    assert upkeep.limit_bytes() == gigabytes * 1e9


@pytest.mark.parametrize("given", ["much", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, given):
    monkeypatch.setenv("DEFOCUS_MAPS_GB", given)
    with pytest.raises(ValueError, match=f"DEFOCUS_MAPS_GB is '{given}'; a number of GB"):
        upkeep.limit_bytes()
