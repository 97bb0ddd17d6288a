"""A cached table is used again only while what it was made of is the same."""

import os
from pathlib import Path

from training.datasets.table import cache_name


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
