import random
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from services.deidentify import image
from services.deidentify.manifest import OBJECTS
from services.domain.events import Imaging
from services.domain.references import reference_of
from services.formats.dicom.pixels import decode
from tests.unit.deidentify.canaries import DAY, DIGITS, WORD, leaks, word
from tests.unit.deidentify.runs import as_read, assert_same_facts, deidentify, events
from tests.unit.formats.dicom.files import FOLDERS, edited, picture, radiograph

CT = FOLDERS["pydicom"] / "test_files" / "CT_small.dcm"

NEEDED = {  # what the image and its reader need: marks here make another image, or none
    *("SOPClassUID", "SOPInstanceUID", "Modality", "TimezoneOffsetFromUTC", "PixelData", "BurnedInAnnotation"),
    *("FloatPixelData", "DoubleFloatPixelData", "StudyDate", "StudyTime", "PatientBirthDate", "ConversionType"),
    *("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "SeriesDate", "ImageType", "SpecificCharacterSet"),
    *("AcquisitionTime", "ContentTime", "SeriesTime", "PatientID", "IssuerOfPatientID", "StudyInstanceUID"),
    *("SeriesInstanceUID", "PatientSex", "BodyPartExamined", "ViewPosition", "InstanceCreationDate"),
    *("InstanceCreationTime", "AccessionNumber", "IssuerOfPatientIDQualifiersSequence", "AccessionNumberSequence"),
    *("IssuerOfAccessionNumberSequence", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"),
    *("ModalityLUTSequence", "VOILUTSequence", "SharedFunctionalGroupsSequence", "PresentationLUTShape"),
    *("PerFrameFunctionalGroupsSequence", "PixelPaddingValue", "PixelPaddingRangeLimit", "VOILUTFunction"),
}
TEXTS = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT", "UR"}


def value_for(vr: str) -> object:
    """A mark that fits a value representation; None where there is none."""
    if vr in TEXTS:
        return word()
    if vr == "UI":
        return f"1.2.826.{DIGITS}.1"
    if vr in ("DA", "DT"):
        return DAY.replace("-", "") + ("142233" if vr == "DT" else "")
    if vr in ("OB", "UN"):
        return f"{word()} {DIGITS}4 ".encode().ljust(32)
    if vr in ("IS", "DS"):
        return DIGITS + "123"
    return None


def crowded(data: bytes) -> bytes:
    """The object with a mark in every element of the dictionary that the image does not need, at every depth."""
    dataset = pydicom.dcmread(BytesIO(data))
    for keyword, tag in keyword_dict.items():
        group = tag >> 16
        if (
            not keyword
            or keyword in NEEDED
            or group in (0x0000, 0x0002, 0x0004, 0x0028, 0xFFFE, 0x7FE0)
            or group > 0x7FE0
        ):
            continue
        vr = dictionary_VR(tag)
        if vr == "SQ":
            setattr(dataset, keyword, Sequence([_nested()]))
        elif (value := value_for(vr)) is not None:
            dataset.add_new(tag, vr, value)
    for group in (0x0009, 0x0029, 0x7FE1):
        block = dataset.private_block(group, f"{WORD} maker", create=True)
        block.add_new(1, "LO", word())
        block.add_new(2, "OB", word().encode() * 2 + b" ")
        block.add_new(3, "SQ", Sequence([_nested()]))
    dataset.add_new(0x60000010, "US", 8)
    dataset.add_new(0x60000022, "LO", word())
    dataset.add_new(0x60003000, "OW", f"{WORD}{DIGITS}0".encode())
    dataset.add_new(0xFFFCFFFC, "OB", f"{WORD}{DIGITS} ".encode())
    dataset.preamble = f"{WORD} {DIGITS}".encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = WORD
    dataset.file_meta.ImplementationVersionName = WORD
    dataset.file_meta.PrivateInformationCreatorUID = f"1.2.{DIGITS}"
    dataset.file_meta.PrivateInformation = word().encode()
    out = BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def _nested(depth: int = 3) -> Dataset:
    item = Dataset()
    item.PatientName, item.PatientID, item.StudyDate = word(), DIGITS, DAY.replace("-", "")
    item.TextValue, item.PersonName, item.ReferencedSOPInstanceUID = word(), word(), f"1.2.826.{DIGITS}"
    item.private_block(0x0009, WORD, create=True).add_new(1, "LO", word())
    if depth:
        item.ContentSequence = Sequence([_nested(depth - 1)])
    return item


def out_images(folder: Path) -> list[pydicom.Dataset]:
    """The objects of a folder, in the order of their events."""
    references = [f.object for e in events(folder) for f in e.facts if isinstance(f, Imaging)]
    return [pydicom.dcmread(next((folder / OBJECTS).rglob(r.rpartition("/")[2]))) for r in references]


@pytest.mark.parametrize("source", ["made", "scanner"])
def test_an_object_full_of_identifiers_shows_the_same_and_says_none_of_them(tmp_path, source):
    data = radiograph(picture(dtype=np.uint16)) if source == "made" else CT.read_bytes()
    marked = crowded(data)
    assert marked.count(WORD.encode()) > 500
    _, report = deidentify(tmp_path / "out", ("dicom", marked))
    assert report.formats["dicom"].images == 1, report
    assert leaks(tmp_path / "out") == []
    (left,) = out_images(tmp_path / "out")
    assert {element.keyword for element in left} <= image.KEPT
    ((old,), (new,)) = as_read(("dicom", marked)), events(tmp_path / "out")
    assert_same_facts(old, new, lambda fact: False)
    before, after = decode(marked), decode(_bytes(tmp_path / "out", left))
    assert isinstance(before, np.ndarray)
    assert np.array_equal(before, after)


def _bytes(folder: Path, dataset: pydicom.Dataset) -> bytes:
    return Path(str(dataset.filename)).read_bytes()


def test_every_element_of_a_code_or_number_that_stays_refuses_what_is_neither(tmp_path):
    given = {k: WORD.upper() for k in ("PatientSex", "BodyPartExamined", "ViewPosition", "PatientPosition")}
    marked = edited(radiograph(), **given, KVP=DIGITS, AccessionNumber=WORD, StudyID=WORD, PatientAge="093Y")
    deidentify(tmp_path / "out", ("dicom", marked))
    assert leaks(tmp_path / "out") == []
    (left,) = out_images(tmp_path / "out")
    assert not {"PatientSex", "BodyPartExamined", "ViewPosition", "KVP", "PatientAge"} & {e.keyword for e in left}


@pytest.mark.parametrize("syntax", ["jpeg2000", "rle"])
def test_what_a_codestream_carries_beside_its_pixels_does_not_leave(tmp_path, syntax):
    dataset = pydicom.dcmread(BytesIO(radiograph(picture(), syntax=syntax)))
    stream = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    comment = f"\0\1patient {WORD} {DIGITS}".encode()
    if syntax == "jpeg2000":  # a comment segment (COM, ISO 15444-1 A.9.2) right after SIZ
        at = 4 + int.from_bytes(stream[4:6], "big")
        stream = stream[:at] + b"\xff\x64" + (len(comment) + 2).to_bytes(2, "big") + comment + stream[at:]
    else:  # behind the last segment, where nobody reads
        stream += comment
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    out = BytesIO()
    dataset.save_as(out)
    data = out.getvalue()
    assert WORD.encode() in data
    deidentify(tmp_path / "out", ("dicom", data))
    assert leaks(tmp_path / "out") == []
    (left,) = out_images(tmp_path / "out")
    assert np.array_equal(left.pixel_array, picture())


def test_overlays_in_the_unused_bits_of_the_pixels_do_not_leave(tmp_path):
    pixels = picture(dtype=np.uint16) >> 4
    hidden = pixels | np.uint16(0xF000) * (np.indices(pixels.shape).sum(0) % 2).astype(np.uint16)
    data = edited(radiograph(hidden), BitsStored=12, HighBit=11)
    deidentify(tmp_path / "out", ("dicom", data))
    (left,) = out_images(tmp_path / "out")
    assert np.array_equal(left.pixel_array, pixels)


@pytest.mark.parametrize(
    ("changes", "strict", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, False, "burned_in_annotation"),
        ({"ConversionType": "WSD", "BurnedInAnnotation": None}, False, "secondary_capture"),
        ({"ImageType": ["DERIVED", "SECONDARY"], "BurnedInAnnotation": None}, False, "secondary_capture"),
        ({"BurnedInAnnotation": None}, True, "burned_in_unstated"),
        ({"BurnedInAnnotation": None}, False, None),
        ({"BurnedInAnnotation": "NO"}, True, None),
    ],
)
def test_pixels_that_may_hold_writing_are_refused_or_flagged(tmp_path, changes, strict, reason):
    data = edited(edited(radiograph(), BurnedInAnnotation="NO"), **changes)
    _, report = deidentify(tmp_path / "out", ("dicom", data), strict_pixels=strict)
    counts = report.formats["dicom"]
    assert dict(counts.refused) == ({reason: 1} if reason else {})
    assert counts.images == (reason is None)
    assert counts.unstated_pixels == (changes["BurnedInAnnotation"] is None and reason is None)
    assert len(list((tmp_path / "out" / OBJECTS).rglob("*.*"))) in (0, counts.images)
    imaging = [f for e in events(tmp_path / "out") for f in e.facts if isinstance(f, Imaging)]
    assert len(imaging) == counts.images, "an image that was refused is not told of either"


def test_the_public_test_files_leave_within_the_allow_list_or_are_refused_with_a_reason(tmp_path):
    rng = random.Random(3)
    paths = [p for folder in FOLDERS.values() for p in sorted(folder.rglob("*.dcm")) if p.stat().st_size < 1 << 20]
    chosen = rng.sample(paths, 60)
    _, report = deidentify(tmp_path / "out", *(("dicom", path.read_bytes()) for path in chosen))
    counts = report.formats["dicom"]
    assert counts.messages == 60
    for left in out_images(tmp_path / "out"):
        assert {element.keyword for element in left} <= image.KEPT
        assert left.PatientIdentityRemoved == "YES"
        assert [item.CodeValue for item in left.DeidentificationMethodCodeSequence] == ["113100", "113107", "113108"]
        assert left.PatientID == left.PatientName
        assert left.pixel_array.size


def test_an_object_s_name_is_of_what_left_and_one_study_stays_one_study(tmp_path):
    first, second = radiograph(), radiograph(picture(seed=2))
    uid = pydicom.dcmread(BytesIO(first)).StudyInstanceUID
    deidentify(tmp_path / "out", ("dicom", first), ("dicom", edited(second, StudyInstanceUID=uid)))
    one, other = out_images(tmp_path / "out")
    assert one.StudyInstanceUID == other.StudyInstanceUID != uid
    assert one.SOPInstanceUID != other.SOPInstanceUID
    names = {f.object for e in events(tmp_path / "out") for f in e.facts if isinstance(f, Imaging)}
    assert names == {reference_of(_bytes(tmp_path / "out", left)) for left in (one, other)}
