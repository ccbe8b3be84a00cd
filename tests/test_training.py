"""The program that trains the backbone: from a folder of photographs to a file that `fastmagic.tiny` can load."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def photos(shapes, tmp_path):
    for i, file in enumerate(sorted(shapes.rglob("*.png"))):
        to = tmp_path / "photos" / ("val" if i % 4 == 0 else "train") / file.parent.name
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    return tmp_path / "photos"


def command(photos: Path, work: Path, *options: str) -> list[str]:
    settings = ["--bs", "16", "--side", "48", "--sizes", "32", "48", *options]
    return [sys.executable, "-m", "training", str(photos), "--work", str(work), *settings]


def train(photos: Path, work: Path, *options: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(photos, work, *options), cwd=ROOT, capture_output=True, text=True, timeout=300)


def log(work: Path) -> list[dict]:
    return [json.loads(line) for line in (work / "log.jsonl").read_text().splitlines()]


def test_a_folder_becomes_a_file_of_half_precision_weights_that_knows_its_training(photos, tmp_path):
    from safetensors import safe_open

    from fastmagic.learning.tiny import tiny

    done = train(photos, tmp_path / "work", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "work" / "tiny.safetensors"
    with safe_open(str(file), "pt") as opened:
        about = opened.metadata()
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    assert json.loads(about["vocab"]) == ["disc", "square"]
    assert json.loads(about["photographs seen"]) == 2 * 90
    assert json.loads(about["settings"])["epochs"] == 2
    assert {value.dtype for value in weights.values()} == {torch.float16}
    missing, unexpected = tiny(pretrained=False, num_classes=2).load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    assert [line["size"] for line in log(tmp_path / "work")] == [48, 48]  # the crops have grown by the end of the first


def test_a_killed_training_goes_on_where_its_checkpoint_is(photos, tmp_path):
    work = tmp_path / "work"
    process = subprocess.Popen(command(photos, work, "--epochs", "400", "--save-every", "0"), cwd=ROOT)
    for _ in range(1200):
        if (work / "checkpoint.pt").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    seen = torch.load(work / "checkpoint.pt", weights_only=True)["seen"]
    assert seen > 0
    lines = len(log(work))
    # 90 photographs an epoch: the schedule ends two epochs further on.
    done = train(photos, work, "--epochs", str(seen // 90 + 2))
    assert done.returncode == 0, done.stderr
    after = log(work)[lines:]
    assert after[0]["seen"] > seen
    assert sum("accuracy" in line for line in after) == 2


def test_it_can_start_from_a_file_and_the_classifier_of_other_classes_is_left_out(photos, tmp_path):
    from safetensors.torch import load_file

    from fastmagic.learning.tiny import FILE

    done = train(photos, tmp_path / "work", "--epochs", "0.2", "--lr", "1e-9", "--start", str(FILE))
    assert done.returncode == 0, done.stderr
    shipped = load_file(tmp_path / "work" / "tiny.safetensors")
    assert torch.allclose(shipped["conv1.0.weight"].float(), load_file(FILE)["conv1.0.weight"].float(), atol=1e-3)
    assert shipped["fc.weight"].shape[0] == 2


@pytest.mark.parametrize("given", [["nowhere"], ["photos", "--start", "gone.safetensors"]])
def test_a_wrong_folder_or_file_is_said_and_nothing_starts(photos, tmp_path, given):
    folder = photos if given[0] == "photos" else tmp_path / given[0]
    done = train(folder, tmp_path / "work", *given[1:])
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert given[-1] in done.stderr
