"""Recordings: how they are recognised, checked, drawn, learned and asked about."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from IPython.utils.capture import capture_output

import fastmagic
from fastmagic.errors import FastmagicError
from fastmagic.kinds import SOUND, kind_of
from fastmagic.learning.train import plan

soundfile = pytest.importorskip("soundfile", reason="fastmagic[sound] is not installed")
pytest.importorskip("librosa", reason="fastmagic[sound] is not installed")
RATE = 8000


def tone(random, kind: str, rate=RATE, seconds=None):
    """Return a rising or a falling tone with some noise."""
    seconds = seconds or random.uniform(0.3, 0.5)
    time = np.arange(int(seconds * rate)) / rate
    low, high = 300, 1500
    start, end = (low, high) if kind == "rising" else (high, low)
    pitch = start + (end - start) * time / seconds
    wave = 0.5 * np.sin(2 * np.pi * np.cumsum(pitch) / rate)
    return (wave + random.normal(0, 0.05, len(wave))).astype("float32")


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    folder, random = tmp_path_factory.mktemp("sounds") / "tones", np.random.default_rng(0)
    folder.mkdir()
    for i in range(80):
        kind, who = ("rising", "falling")[i % 2], ("ann", "bob", "cy", "dee")[i // 2 % 4]
        soundfile.write(folder / f"{kind}_{who}_{i}.wav", tone(random, kind), RATE)
    return folder


@pytest.fixture(scope="module")
def learn(tones):
    return fastmagic.train(fastmagic.datablock(tones, label="^([^_]+)_", num_workers=0))


def planned(source, **answers):
    from fastmagic.data.datablock import plan as plan_block

    more = {name: answers.pop(name) for name in ("label", "target") if name in answers}
    return plan_block(source, given=answers, **more)


# ---------------------------------------------------------------- what is worked out


def test_which_part_of_a_name_is_the_class_is_asked(tones):
    with pytest.raises(FastmagicError, match="Which part of the names is the class") as error:
        fastmagic.datablock(tones)
    assert "'falling' (2 different), 'ann' (4 different)" in error.value.cause
    assert "`label='^([^_.]+)'` takes 'falling'" in error.value.fix
    found = planned(tones, label="^[^_]+_([^_.]+)")
    assert list(found.build().vocab) == ["ann", "bob", "cy", "dee"]
    assert list(planned(tones, label="rising|falling").build().vocab) == ["falling", "rising"]
    with pytest.raises(FastmagicError, match="no regular expression"):
        fastmagic.datablock(tones, label="(")
    with pytest.raises(FastmagicError, match="Leave one out"):
        fastmagic.datablock(tones, label="x", get_y=lambda file: "x")


def test_recordings_are_measured(tones):
    found = planned(tones, label="^([^_]+)_")
    assert found.kind is SOUND
    assert "recordings of 0.3 to 0.5 s become 0.5 s, ending in silence" in found.why
    assert "SoundBlock(seconds=0.5, sample_rate=8000), CategoryBlock" in found.cell()
    dls = found.build()
    assert kind_of(dls) is SOUND
    assert tuple(dls.one_batch()[0].shape[1:]) == (1, 64, 51)
    assert 0 <= dls.one_batch()[0].min() < dls.one_batch()[0].max() <= 1
    assert fastmagic.code(dls).splitlines()[1] == "from fastmagic import SoundBlock"
    names: dict = {}
    exec(fastmagic.code(dls), names)
    assert list(names["dls"].valid_ds.items) == list(dls.valid_ds.items)


def test_class_folders_long_ones_and_mixed_rates(tmp_path):
    random = np.random.default_rng(1)
    for i in range(40):
        kind = ("rising", "falling")[i % 2]
        (tmp_path / kind).mkdir(exist_ok=True)
        rate = 44_100 if i == 0 else RATE
        wave = tone(random, kind, rate, 6.0 if i == 1 else 0.4)
        both = np.stack([wave, wave], 1) if i == 2 else wave
        soundfile.write(tmp_path / kind / f"{i}.{'flac' if i % 3 else 'wav'}", both, rate)
    found = planned(tmp_path)
    assert "2 folders are the classes: falling, rising" in found.why
    assert "seconds=0.4" in found.cell()
    assert "2% are longer and cut" in found.why
    assert "sample rates are 8000, 44100, and become 8,000 Hz" in found.why
    assert "several channels become one" in found.why
    assert found.build().one_batch()[0].shape[-1] == 41
    report = fastmagic.check(tmp_path)
    assert "39 at 8,000 Hz" in report["mixed-sounds"].message
    assert "1 of 2 channels" in report["mixed-sounds"].message
    assert [item.name for item in report["long-sound"].items] == ["1.flac"]


def test_long_recordings_are_drawn_in_larger_steps(tmp_path):
    random = np.random.default_rng(1)
    for i in range(8):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        soundfile.write(tmp_path / "ab"[i % 2] / f"{i}.wav", tone(random, "rising", seconds=8.0), RATE)
    assert "SoundBlock(seconds=8, sample_rate=8000, hop=32)" in planned(tmp_path).cell()
    assert planned(tmp_path).build().one_batch()[0].shape[-1] == 251


def test_a_table_names_recordings(tones):
    files = sorted(tones.iterdir())
    frame = pd.DataFrame({"file": map(str, files), "label": [file.name.split("_")[0] for file in files]})
    found = planned(frame)
    assert found.kind is SOUND
    assert len(found.build().train_ds) == 64
    assert fastmagic.check(frame).ok


def test_answers_of_ones_own(tones):
    from fastai.vision.all import CategoryBlock, FuncSplitter

    from fastmagic import SoundBlock

    dls = fastmagic.datablock(
        tones, label="^([^_]+)_", blocks=(SoundBlock(0.4, 8000, mels=32, window=40, hop=20), CategoryBlock),
        splitter=FuncSplitter(lambda file: "_dee_" in file.name), num_workers=0,
    )  # fmt: skip
    assert tuple(dls.one_batch()[0].shape[1:]) == (1, 32, 21)
    assert all("_dee_" in file.name for file in dls.valid_ds.items)


def test_spoken_digits(shared_data):
    found = planned(shared_data / "spoken_digits", label="^([^_]+)_")
    assert "SoundBlock(seconds=0.9, sample_rate=8000)" in found.cell()
    assert fastmagic.check(found.build()).ok


# ---------------------------------------------------------------- the block itself


def test_a_spectrogram_is_librosas():
    import librosa

    from fastmagic.data.sound import Sound, ToSpectrogram

    wave = tone(np.random.default_rng(0), "rising", seconds=0.5)
    drawn = ToSpectrogram(0.5, RATE)(Sound(wave, RATE))
    power = librosa.feature.melspectrogram(y=wave, sr=RATE, n_mels=64, n_fft=512, win_length=200, hop_length=80)
    expected = librosa.power_to_db(power, ref=np.max, top_db=80) / 80 + 1
    np.testing.assert_allclose(drawn[0].numpy(), expected, atol=1e-5)
    # The tone rises: the loudest row of a column goes up.
    loudest = drawn[0].argmax(0)
    assert loudest[-8] > loudest[8]


def test_silence_and_one_rate_for_all():
    from fastmagic.data.sound import Sound, ToSpectrogram

    assert float(ToSpectrogram(1, RATE)(Sound(np.zeros(100, "float32"), RATE)).max()) == 0
    wave = tone(np.random.default_rng(0), "rising", 16_000, 0.5)
    opened = Sound.create(np.stack([wave, wave], 1), 16_000)
    assert opened.samples.ndim == 1
    np.testing.assert_allclose(Sound.create(np.stack([wave, wave]), 16_000).samples, opened.samples)  # channels first
    assert abs(Sound.create((wave * 32767).astype("int16"), 16_000).samples).max() <= 1
    out = io.BytesIO()
    soundfile.write(out, wave, 16_000, format="FLAC")
    again = Sound.create(out.getvalue(), RATE)
    assert again.rate == RATE
    assert again.seconds == pytest.approx(0.5, abs=0.01)
    assert repr(again) == "Sound 0.50 s, 8,000 Hz"
    assert "audio/wav;base64," in again.player()
    assert again.picture().size == (256, 128)


def test_fastai_shows_them(learn):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    learn.dls.show_batch(max_n=4)
    learn.show_results(max_n=4)
    plt.close("all")
    label, _, probabilities = learn.predict(learn.dls.valid_ds.items[0])
    assert label in learn.dls.vocab
    assert float(probabilities.max()) > 0.5


def test_what_is_no_sound_says_what_it_is(learn, tmp_path):
    (tmp_path / "page.wav").write_text("<html><body>gone</body></html>")
    with pytest.raises(FastmagicError, match=r"'page.wav' is no sound: it is a web page"):
        fastmagic.predict(tmp_path / "page.wav", learn)
    with pytest.raises(FastmagicError, match=r"No file 'gone\.wav'"):
        fastmagic.predict(tmp_path / "gone.wav", learn)


# ---------------------------------------------------------------- checks


def test_silent_clipped_and_broken_recordings_are_found(tones, tmp_path):
    import shutil

    folder = tmp_path / "tones"
    shutil.copytree(tones, folder)
    files = sorted(folder.iterdir())
    soundfile.write(files[0], np.zeros(RATE // 2), RATE)
    soundfile.write(files[1], np.sign(tone(np.random.default_rng(0), "rising")), RATE)
    files[2].write_bytes(b"RIFF....WAVE")
    soundfile.write(files[3], np.zeros(10), RATE)
    dls = fastmagic.datablock(folder, label="^([^_]+)_", num_workers=0)
    report = fastmagic.check(dls)
    assert files[0] in report["silent"].items
    assert report["clipped"].items == [files[1]]
    assert report["unreadable"].items == [files[2]]
    assert report["empty-sound"].items == [files[3]]
    assert fastmagic.check(folder)["unreadable"].items == [files[2]]
    files[4].unlink()
    assert fastmagic.check(dls, fast=True)["missing-file"].items == [files[4]]


# ---------------------------------------------------------------- learning and asking


def test_it_learns_what_it_hears(learn):
    found = fastmagic.results(learn)
    assert found.correct.mean() >= 0.9
    assert found.show(4).png[:4] == b"\x89PNG"
    assert found.look(0).size[0] <= 160
    code = fastmagic.code(learn)
    assert "vision_learner(dls, resnet18, pretrained=False, n_in=1" in code
    assert "aug_transforms" not in code


def test_it_learns_with_pretrained_weights_too(tones):
    dls = fastmagic.datablock(tones, label="^([^_]+)_", num_workers=0)
    code = plan(dls, "tiny", offline=True).code()
    assert "fastmagic.tiny, n_in=1" in code
    assert "AffineCoordTfm" not in code


def test_one_recording_and_many(learn, tones):
    file = sorted(tones.iterdir())[0]
    one = fastmagic.predict(file, learn)
    assert one.label == "falling"
    assert one.image.size == (256, 128)
    html = one._repr_mimebundle_()["text/html"]
    assert "<audio" in html
    assert "<img" in html
    assert fastmagic.predict(file.read_bytes(), learn).probability == pytest.approx(one.probability, abs=1e-4)
    many = fastmagic.predict(tones, learn)
    assert len(many) == 80
    assert (many.frame.label == [file.name.split("_")[0] for file in sorted(tones.iterdir())]).mean() > 0.9
    assert len(fastmagic.predict(f"{tones}/rising_*.wav", learn)) == 40


def test_the_magics(shell, tones):
    shell.user_ns["tones"] = tones
    with capture_output() as out:
        shell.run("%datablock dls --from tones --label '^([^_]+)_' --show 2")
        shell.run("%train --epochs 2")
        shell.run("%results --worst 3")
        shell.run(f"%predict {tones}/rising_ann_0.wav --into one")
        shell.run("%check dls")
        shell.run("%datablock dls --explain")
    assert "What a block draws is no photo" in out.stdout
    assert any("<audio" in one.data.get("text/html", "") for one in out.outputs)
    with capture_output() as out:
        shell.run(f"%predict {tones}/rising_ann_0.wav --code")
    names: dict = {}
    exec(out.stdout, names)
    assert names["label"] == shell.user_ns["one"].label
    with pytest.raises(FastmagicError, match="Which part of the names") as error:
        shell.run("%datablock --from tones")
    assert "label='^([^_.]+)'" in str(error.value)
