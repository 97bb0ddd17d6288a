"""Every public test file ends as an event, a filtered reason or a reject, and the docs' table says so truly."""

import pytest

from services.domain.reasons import FilterReason, RejectReason
from tests.support import ROOT
from tests.unit.formats.dicom.corpus import outcome, page
from tests.unit.formats.dicom.files import FOLDERS, corpus

KNOWN = {
    "rejected": {reason.value for reason in RejectReason},
    "filtered": {reason.value for reason in FilterReason},
    "event": {"CR", "DX", "CT", "MR"},
}


@pytest.mark.parametrize("name", FOLDERS)
def test_every_file_ends_in_one_named_outcome(name: str) -> None:
    files = list(corpus(name))
    assert len(files) >= {"pydicom-data": 68, "pydicom": 190}[name]
    for path in files:
        end, what, _ = outcome(path.read_bytes())
        assert what in KNOWN[end], path.name


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("RG1_J2KR.dcm", ("event", "CR", "")),
        ("CT_small.dcm", ("event", "CT", "")),
        ("MR_small_jpeg_ls_lossless.dcm", ("event", "MR", "")),
        ("US1_UNCR.dcm", ("filtered", "unsupported_modality", "(0008,0060)")),
        ("reportsi.dcm", ("filtered", "unsupported_modality", "(0008,0060)")),
        ("chrJapMulti.dcm", ("filtered", "no_pixels", "(7FE0,0010)")),
        ("693_J2KR.dcm", ("filtered", "no_time", "(0008,0020)")),
        ("emri_small.dcm", ("rejected", "missing_patient", "(0010,0020)")),
        ("MR_truncated.dcm", ("rejected", "malformed", "(7FE0,0010)")),
        ("no_meta.dcm", ("rejected", "not_dicom", "byte 128")),
    ],
)
def test_the_reason_is_the_right_one(file: str, expected: tuple[str, str, str]) -> None:
    (path,) = [path for name in FOLDERS for path in corpus(name) if path.name == file]
    assert outcome(path.read_bytes()) == expected


def test_the_table_in_the_docs_is_what_the_code_does() -> None:
    assert (ROOT / "docs" / "corpora-dicom.md").read_text() == page()
