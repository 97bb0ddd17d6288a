"""The encoders as they ship: the graph computes what training computed, row by row, whatever the batch."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from services.domain.features.inputs import IMAGE_SIZE, NOTE_SIZE
from services.domain.images import IMAGE_PREPROCESSING, SIZE, prepare_image
from services.domain.notes import BUCKETS, MAX_TOKENS, NOTE_PREPROCESSING, note_tokens
from services.inference.manifest import load_manifest
from tests.support import ROOT, shared
from training.card import refresh, tables

REPOSITORY = ROOT / "model_repository"


def session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    path = REPOSITORY / name / "1" / "model.onnx"
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def images(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rough = [np.kron(rng.random((12, 12)), np.ones((20, 20))) for _ in range(count)]
    prepared = [prepare_image(picture) for picture in rough]
    return np.stack([p for p in prepared if p is not None])


def test_the_image_encoder_answers_each_row_alike_alone_and_in_a_batch() -> None:
    model, pictures = session("image_encoder"), images(5)
    ids = np.arange(5, dtype=np.int64)[:, None] + 2**40
    embedding, finding, echoed = model.run(None, {"image": pictures, "row_id": ids})
    assert embedding.shape == (5, IMAGE_SIZE)
    assert finding.shape == (5, 1)
    assert ((finding >= 0) & (finding <= 1)).all()
    assert np.array_equal(echoed, ids)
    for n in range(5):
        alone = model.run(None, {"image": pictures[n : n + 1], "row_id": ids[n : n + 1]})
        assert np.abs(alone[0] - embedding[n]).max() < 1e-4
        assert np.abs(alone[1] - finding[n]).max() < 1e-5
    assert np.ptp(finding) > 1e-3  # it looks at the picture


def test_the_note_encoder_is_the_sum_of_its_tokens() -> None:
    model = session("note_encoder")
    texts = ["septic shock, mechanical ventilation", "elective surgery; hip replacement", ""]
    tokens = np.stack([note_tokens(text) for text in texts])
    ids = np.array([[3], [1], [2]], dtype=np.int64)
    embedding, echoed = model.run(None, {"tokens": tokens, "row_id": ids})
    assert embedding.shape == (3, NOTE_SIZE)
    assert np.array_equal(echoed, ids)
    assert not embedding[2].any()
    single = np.zeros((1, MAX_TOKENS), np.int64)
    total = np.zeros(NOTE_SIZE)
    for token in tokens[0][tokens[0] != 0]:
        single[0, 0] = token
        total += model.run(["embedding"], {"tokens": single, "row_id": ids[:1]})[0][0]
    assert np.abs(total - embedding[0]).max() < 1e-4


def test_the_note_encoder_knows_what_is_dangerous() -> None:
    directions = json.loads((REPOSITORY / "note_encoder" / "manifest.json").read_text())["directions"]
    model, death = session("note_encoder"), directions.index("death")
    ids = np.zeros((2, 1), np.int64)
    texts = ["septic shock. mechanical ventilation. vasopressors", "elective surgery. stable. chest pain ruled out"]
    found = model.run(["embedding"], {"tokens": np.stack([note_tokens(t) for t in texts]), "row_id": ids})[0]
    assert found[0, death] > found[1, death]


@pytest.mark.parametrize(
    ("name", "preprocessing"), [("image_encoder", IMAGE_PREPROCESSING), ("note_encoder", NOTE_PREPROCESSING)]
)
def test_manifest_configurations_and_weights_belong_together(name: str, preprocessing: str) -> None:
    manifest = load_manifest(REPOSITORY, name)  # raises when the hash is not that of the file
    assert manifest.preprocessing == preprocessing
    for file, backend, kind in (
        ("config.pbtxt", "onnxruntime", "KIND_AUTO"),
        ("configs/cpu.pbtxt", "python", "KIND_CPU"),
    ):
        text = (REPOSITORY / name / file).read_text()
        for word in (f'name: "{name}"', f'backend: "{backend}"', kind, "dynamic_batching {}", "max_batch_size"):
            assert word in text
    for tensor in (*session(name).get_inputs(), *session(name).get_outputs()):
        assert f'name: "{tensor.name}"' in (REPOSITORY / name / "config.pbtxt").read_text()
    assert (REPOSITORY / name / "1" / "model.onnx").stat().st_size < 5_000_000
    assert (REPOSITORY / name / "MODEL_CARD.md").exists()


@pytest.mark.parametrize("name", ["image_encoder", "note_encoder"])
def test_the_card_has_the_figures_of_its_manifest(name: str) -> None:
    manifest = json.loads((REPOSITORY / name / "manifest.json").read_text())
    card = (REPOSITORY / name / "MODEL_CARD.md").read_text()
    assert refresh(card, manifest) == card
    for table in tables(manifest):
        assert f"<!-- {table} -->\n" in card
    low, high = manifest["cross_validation"][0]["auroc_ci"]
    assert f"[{low:.3f}, {high:.3f}]" in card


def test_calibration_of_a_fold_is_blind_to_its_labels() -> None:
    pytest.importorskip("torch")
    from training.images.train import FOLDS, OutOfFold, calibrated

    rng = np.random.default_rng(0)
    labels, fold = rng.random(200) < 0.5, np.arange(200) % FOLDS
    run = OutOfFold(rng.normal(labels * 2.0, 1.0, (2, 200)), fold)
    inside = fold == 1
    assert np.allclose(calibrated(run, labels)[inside], calibrated(run, labels ^ inside)[inside])


def test_no_path_of_a_machine_is_in_the_graphs() -> None:
    for name in ("image_encoder", "note_encoder"):
        content = (REPOSITORY / name / "1" / "model.onnx").read_bytes()
        for word in (b"/work", b"/home", b"/root", b"site-packages", b".py"):
            assert word not in content


def test_a_table_exported_computes_what_training_computed() -> None:
    from training.notes.model import NoteTable
    from training.notes.train import export

    rng = np.random.default_rng(0)
    rows = rng.normal(size=(BUCKETS, 8)).astype(np.float16).astype(np.float32)
    rows[0] = 0
    graph = onnxruntime.InferenceSession(
        export(NoteTable(rows)).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    tokens = np.stack([note_tokens("acute renal failure on dialysis"), note_tokens("")])
    found = graph.run(["embedding"], {"tokens": tokens, "row_id": np.zeros((2, 1), np.int64)})[0]
    assert np.abs(found - NoteTable(rows).encode(tokens)).max() < 1e-5


def test_the_image_network_exported_computes_what_training_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from training.images import network
    from training.images.export import export
    from training.images.network import Head, Served, Trunk

    # Two stages have every kind of layer, and their export takes a fraction of the time.
    monkeypatch.setattr(network, "STAGES", network.STAGES[:2])
    monkeypatch.setattr(network, "FEATURES", 2 * network.STAGES[1].outputs)
    torch.manual_seed(0)
    trunk, head = Trunk().eval(), Head().eval()
    graph = onnxruntime.InferenceSession(
        export(trunk, head, 1.3, -0.2).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pictures, ids = images(3), np.arange(3, dtype=np.int64)[:, None]
    assert pictures.shape[1:] == (1, SIZE, SIZE)
    with torch.inference_mode():
        wanted = Served(trunk, head, 1.3, -0.2).eval()(torch.from_numpy(pictures), torch.from_numpy(ids))
    for found, want in zip(graph.run(None, {"image": pictures, "row_id": ids}), wanted, strict=True):
        assert np.abs(found - want.numpy()).max() < 1e-4


def test_random_views_keep_shape_and_range_and_repeat_with_their_seed() -> None:
    torch = pytest.importorskip("torch")
    from training.images.augment import augment

    pictures = torch.from_numpy(images(4))
    first, second = (augment(pictures, torch.Generator().manual_seed(7)) for _ in range(2))
    assert first.shape == pictures.shape
    assert torch.equal(first, second)
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1
    assert not torch.equal(first, pictures)


@pytest.mark.data
def test_the_shipped_image_encoder_tells_pneumonia_on_real_pictures(tmp_path: Path) -> None:
    """A smoke test on pictures that it was trained on: no figure, only that the whole path is the right way round."""
    import csv

    folder = shared("data/nih_cxr")
    rows = list(csv.DictReader((folder / "labels.csv").open()))
    chosen = rows[:24] + rows[-24:]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(chosen)
    (tmp_path / "images").symlink_to(folder / "images")
    from training.evaluation.command import evaluate

    found = evaluate("cxr-pneumonia", tmp_path, tmp_path / "r.json", tmp_path / "r.html", repeats=50)
    assert found["auroc"] > 0.8
    assert json.loads((tmp_path / "r.json").read_text())["n_patients"] == found["n_patients"]
    assert "<svg" in (tmp_path / "r.html").read_text()
