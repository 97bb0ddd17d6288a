"""A cached table is used again only while what it was made of is the same."""

import os
from pathlib import Path

import numpy as np

from services.domain.features import ARRAYS
from training.datasets.table import cache_name, finish, merge


def test_a_table_is_never_older_than_its_data_or_the_code_that_reads_them(tmp_path: Path) -> None:
    data, code = tmp_path / "data.csv", tmp_path / "code"
    code.mkdir()
    data.write_text("1,2")
    (code / "read.py").write_text("FACTOR = 1")
    first = cache_name("data", data, code)
    os.utime(data, (0, 0))
    assert cache_name("data", data, code) == first
    (code / "read.py").write_text("FACTOR = 2")
    second = cache_name("data", data, code)
    data.write_text("1,2,3")
    assert len({first, second, cache_name("data", data, code), cache_name("other", data, code)}) == 4


def test_a_table_is_named_by_what_its_inputs_hold(tmp_path: Path) -> None:
    def made(name: str, age: float) -> str:
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / "input-age.npy", np.full((3, *ARRAYS["age"]), age, np.float32))
        np.save(folder / "label-death.npy", np.zeros(3, np.float32))
        np.save(folder / "hours.npy", np.arange(3, dtype=np.float32))
        np.save(folder / "stay.npy", np.zeros(3, np.int32))
        table = finish(folder, {"inputs": ["age"], "labels": ["death"], "patients": ["p"], "groups": ["p"]})
        assert merge([table, table], ("age",), "death").content == f"{table.content} {table.content}"
        return table.content

    assert made("one", 1.0) == made("same", 1.0) != made("other", 2.0)
