"""Pixels: one picture from every encoding, polarity and window right, hostile sizes refused before they cost."""

import pickle
import struct
import time
import zlib
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from services.domain.reasons import Rejected, RejectReason
from services.formats.dicom import parse, read_header
from services.formats.dicom.codestream import frame_size
from services.formats.dicom.pixels import decode, limit_worker, thumbnail
from tests.unit.formats.dicom.files import FOLDERS, corpus, edited, picture, radiograph


def file(name: str) -> bytes:
    (path,) = [path for folder in FOLDERS for path in corpus(folder) if path.name == name]
    return path.read_bytes()


def shown(data: bytes, *, voi: bool = True) -> np.ndarray:
    answer = decode(data, voi=voi)
    assert isinstance(answer, np.ndarray), answer
    assert answer.dtype == np.float32
    assert answer.flags.c_contiguous
    return answer


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg2000"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(48, 40), (33, 47)])
def test_what_is_written_is_what_is_read(syntax: str, dtype: type, shape: tuple[int, int]) -> None:
    pixels = picture(*shape, dtype=dtype)
    assert np.array_equal(shown(radiograph(pixels, syntax=syntax), voi=False), pixels.astype(np.float32))


def test_the_smallest_picture_is_read() -> None:
    assert shown(radiograph(np.array([[7]], np.uint8)), voi=False) == 7.0


def test_8_bit_pixels_are_shown_as_they_are_so_that_replay_gives_what_training_saw() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.abs(shown(radiograph(pixels)) - pixels / 255.0).max() < 1e-7


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RG1_UNCR.dcm", "RG1_J2KR.dcm"),
        ("RG3_UNCR.dcm", "RG3_J2KR.dcm"),
        ("MR2_UNCR.dcm", "MR2_J2KR.dcm"),
        ("MR_small.dcm", "MR_small_jpeg_ls_lossless.dcm"),
        ("MR_small.dcm", "MR_small_jp2klossless.dcm"),
        ("MR_small.dcm", "MR_small_RLE.dcm"),
        ("MR_small.dcm", "MR_small_bigendian.dcm"),
        ("MR_small.dcm", "MR_small_implicit.dcm"),
        ("emri_small.dcm", "emri_small_jpeg_ls_lossless.dcm"),
    ],
)
def test_a_lossless_encoding_shows_the_same_picture(one: str, other: str) -> None:
    assert np.abs(shown(file(one)) - shown(file(other))).max() < 2e-3  # some were encoded from 1 grey level aside


def test_monochrome1_is_turned_over() -> None:
    data = radiograph(picture())
    inverted = edited(data, PhotometricInterpretation="MONOCHROME1")
    assert np.allclose(shown(inverted), 1.0 - shown(data), atol=1e-6)
    assert np.allclose(shown(inverted, voi=False), -shown(data, voi=False))
    chest = shown(file("RG1_UNCR.dcm"))
    assert chest[:, 900:940].mean() > chest[600:1000, 400:600].mean()  # the spine is brighter than the lung


@pytest.mark.parametrize(
    ("function", "centre", "width", "expected"),
    [
        ("LINEAR", 100, 101, [0.0, 0.0, 0.495, 1.0, 1.0]),  # C.11.2.1.2.1: y at x=99
        ("LINEAR_EXACT", 100, 100, [0.0, 0.0, 0.49, 1.0, 1.0]),
        ("SIGMOID", 100, 100, [0.018, 0.119, 0.49, 0.881, 0.998]),
        ("LINEAR", 100, 1, [0.0, 0.0, 0.0, 1.0, 1.0]),
    ],
)
def test_the_window_follows_the_standard(function: str, centre: int, width: int, expected: list[float]) -> None:
    pixels = np.array([[0, 50, 99, 150, 255]], dtype=np.uint8)
    data = edited(radiograph(pixels), WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    assert shown(data)[0] == pytest.approx(expected, abs=0.006)


def test_rescaled_values_are_in_the_modalitys_units() -> None:
    data = edited(radiograph(picture()), RescaleSlope=2, RescaleIntercept=-1024)
    assert np.array_equal(shown(data, voi=False), picture().astype(np.float32) * 2 - 1024)


def test_padding_does_not_set_the_window() -> None:
    pixels = picture(dtype=np.uint16) // 64 + 100
    pixels[:5] = 65535
    dataset = pydicom.dcmread(BytesIO(edited(radiograph(pixels), WindowCenter=None, WindowWidth=None)))
    dataset.add_new("PixelPaddingValue", "US", 65535)
    out = BytesIO()
    dataset.save_as(out)
    data = out.getvalue()
    assert shown(data)[5:].max() == pytest.approx(1.0)
    assert shown(data)[5:].min() == 0.0


def test_the_middle_frame_of_many_is_taken() -> None:
    frames = np.stack([np.full((4, 6), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    data = edited(radiograph(frames[0]), NumberOfFrames=5, PixelData=frames.tobytes())
    assert np.array_equal(shown(data, voi=False), frames[2].astype(np.float32))


def test_ybr_is_left_raw_and_its_brightness_taken() -> None:
    rgb, ybr = shown(file("SC_rgb.dcm")), shown(file("SC_ybr_full_uncompressed.dcm"))
    assert np.abs(rgb - ybr).max() < 0.01


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"Rows": 65535, "Columns": 65535}, "samples a frame"),
        ({"Rows": 0}, "must be a picture's"),
        ({"NumberOfFrames": 2_000_000_000}, "frames"),
        ({"NumberOfFrames": -1}, "must be a picture's"),
        ({"SamplesPerPixel": 60000}, "must be a picture's"),
        ({"Rows": 8000, "Columns": 8000}, "do not fit their header"),
        ({"BitsAllocated": 13}, "do not fit their header"),
        ({"Rows": None}, "do not fit their header"),
    ],
)
def test_a_header_that_promises_the_impossible_is_refused_at_once(changes: dict[str, object], hint: str) -> None:
    begun = time.process_time()
    answer = decode(edited(radiograph(), **changes))
    assert isinstance(answer, Rejected)
    assert answer.reason == RejectReason.UNREADABLE_PIXELS
    assert hint in answer.hint
    assert time.process_time() - begun < 2.0


def test_a_codestream_of_another_size_than_the_header_is_refused_before_it_is_decoded() -> None:
    """A hundred bytes of JPEG 2000 can promise 65535 x 65535 pixels, for which a decoder would allocate."""
    dataset = pydicom.dcmread(BytesIO(radiograph(picture(), syntax="jpeg2000")))
    frame = bytearray(pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1))
    assert frame_size(bytes(frame)) == (48, 40, 1)
    start = frame.find(b"\xff\x4f\xff\x51")
    struct.pack_into(">II", frame, start + 8, 65535, 65535)
    dataset.PixelData = encapsulate([bytes(frame)])
    out = BytesIO()
    dataset.save_as(out)
    answer = decode(out.getvalue())
    assert isinstance(answer, Rejected)
    assert "not the header's" in answer.hint


@pytest.mark.parametrize("name", ["SC_rgb_jpeg.dcm", "MR_small_jpeg_ls_lossless.dcm", "RG1_J2KR.dcm", "JPEG-LL.dcm"])
def test_the_size_of_a_codestream_is_read_right(name: str) -> None:
    dataset = pydicom.dcmread(BytesIO(file(name)))
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    assert frame_size(frame) == (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)


def deflated(body: bytes) -> bytes:
    """A deflated file whose data set is `body`."""
    data = radiograph()
    end = 144 + int.from_bytes(data[140:144], "little")
    uid = b"1.2.840.10008.1.2.1\0"
    head = data[:end].replace(uid, b"1.2.840.10008.1.2.1.99")
    head = head[:140] + struct.pack("<I", end - 144 + 2) + head[144:]
    at = head.find(b"1.2.840.10008.1.2.1.99")
    head = head[: at - 2] + struct.pack("<H", 22) + head[at:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head + packer.compress(body) + packer.flush()


def test_a_deflated_object_is_read() -> None:
    data = radiograph()
    body = data[144 + int.from_bytes(data[140:144], "little") :]
    assert np.array_equal(shown(deflated(body), voi=False), picture().astype(np.float32))
    header = read_header(deflated(body))
    assert not isinstance(header, Rejected)
    assert header.transfer_syntax == "1.2.840.10008.1.2.1.99"


def test_a_zip_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_INFLATED", 1 << 20)
    answer = read_header(deflated(bytes(64 << 20)))
    assert isinstance(answer, Rejected)
    assert answer.reason == RejectReason.TOO_LARGE


def test_sequences_nested_without_end_are_refused() -> None:
    data = radiograph()
    item = bytes.fromhex("08001511") + b"SQ\0\0\xff\xff\xff\xff" + bytes.fromhex("feff00e0ffffffff")
    answer = read_header(data[: 144 + int.from_bytes(data[140:144], "little")] + item * 20_000)
    assert isinstance(answer, Rejected)
    assert answer.reason == RejectReason.MALFORMED


def test_an_object_without_pixels_has_none_to_decode() -> None:
    answer = decode(file("reportsi.dcm"))
    assert isinstance(answer, Rejected)
    assert answer.reason == RejectReason.UNREADABLE_PIXELS


def test_a_thumbnail_is_a_small_png_and_always_the_same_bytes() -> None:
    png = thumbnail(shown(radiograph(picture(300, 200))), side=64)
    assert png == thumbnail(shown(radiograph(picture(300, 200))), side=64)
    image = Image.open(BytesIO(png))
    assert (image.format, image.mode, image.size) == ("PNG", "L", (43, 64))


def test_decode_works_in_a_pool_of_limited_workers() -> None:
    files = [radiograph(picture(), syntax="jpeg2000"), b"junk"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=limit_worker) as pool:
        good, bad = pool.map(decode, files)
    assert np.array_equal(good, shown(files[0]))
    assert isinstance(bad, Rejected)
    assert pickle.loads(pickle.dumps(bad)) == bad


def test_enhanced_objects_take_their_values_from_the_functional_groups() -> None:
    dataset = pydicom.dcmread(BytesIO(radiograph(picture())))
    shared, macro = Dataset(), Dataset()
    macro.RescaleSlope, macro.RescaleIntercept, macro.RescaleType = 3, 7, "US"
    shared.PixelValueTransformationSequence = [macro]
    dataset.SharedFunctionalGroupsSequence = [shared]
    out = BytesIO()
    dataset.save_as(out)
    assert np.array_equal(shown(out.getvalue(), voi=False), picture().astype(np.float32) * 3 + 7)
