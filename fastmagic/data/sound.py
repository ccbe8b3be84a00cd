"""Sounds for fastai: `SoundBlock` opens a recording and draws its mel spectrogram, which a model of images learns from.

An ordinary `TransformBlock`, for any `DataBlock`:

    from fastai.vision.all import *
    from fastmagic import SoundBlock

    block = DataBlock(
        blocks=(SoundBlock(seconds=1, sample_rate=8000), CategoryBlock),
        get_items=partial(get_files, extensions=['.wav']), get_y=using_attr(RegexLabeller(r'^(\\d)_'), 'name'),
    )
    learn = vision_learner(block.dataloaders('spoken_digits'), resnet18, n_in=1, pretrained=False)

The signal work is soundfile's (WAV, FLAC, OGG, MP3) and librosa's (resampling, mel filters): `pip install 'fastmagic[sound]'`.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from fastai.data.block import TransformBlock
from fastai.torch_basics import Transform
from fastai.vision.core import TensorImage

from .opening import no_such_file
from .sound_files import import_soundfile, no_sound

FLOOR = 80.0  # decibels below the loudest that count as silence
PICTURE = (256, 128)  # px of a spectrogram that people look at
PLAYED = 15.0  # seconds that a player holds at most; each takes some 20 kB in a notebook


class Sound:
    """A recording: one channel of samples.

    Attributes:
        samples: float32 array of one dimension, −1 to 1.
        rate: samples a second.
        file: where it came from, `None` for an array.
    """

    def __init__(self, samples: Any, rate: int, file: Path | None = None):
        self.samples, self.rate, self.file = samples, rate, file

    @classmethod
    def create(cls, source: Any, sample_rate: int | None = None) -> Sound:
        """Open a file, the bytes of one, or an array of samples; several channels become their mean.

        Args:
            source: a path, bytes, or an array (samples, or samples × channels) at `sample_rate`.
            sample_rate: what it is resampled to; `None` leaves it.

        Raises:
            FastmagicError: it is not there, or is no sound.
        """
        if isinstance(source, Sound):
            return source
        if isinstance(source, np.ndarray):
            samples, rate, file = source.astype("float32"), sample_rate or 16000, None
            if source.dtype.kind in "iu":
                samples = samples / np.iinfo(source.dtype).max
            if samples.ndim > 1 and len(samples) <= 8 < samples.shape[1]:  # channels first, as torchaudio has them
                samples = samples.T
        else:
            samples, rate = _read(source)
            file = Path(source) if isinstance(source, (str, Path)) else None
        if samples.ndim > 1:
            samples = samples.mean(1)
        if sample_rate is not None and rate != sample_rate:
            samples = _librosa().resample(samples, orig_sr=rate, target_sr=sample_rate)
            rate = sample_rate
        return cls(np.ascontiguousarray(samples, dtype="float32"), rate, file)

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def picture(self) -> Any:
        """Return its spectrogram as a PIL image, low pitches at the bottom."""
        from matplotlib import colormaps
        from PIL import Image

        drawn = ToSpectrogram(max(self.seconds, 0.1), self.rate, hop=max(10, 1000 * self.seconds / 256))(self)[0]
        pixels = colormaps["magma"](drawn.numpy()[::-1])[..., :3]
        return Image.fromarray((pixels * 255).astype("uint8")).resize(PICTURE)

    def player(self) -> str:
        """Return an audio player as HTML, the sound inside it (its first 15 seconds)."""
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, self.samples[: int(PLAYED * self.rate)], self.rate, format="WAV", subtype="PCM_16")
        data = base64.b64encode(out.getvalue()).decode()
        return f'<audio controls preload="none" style="height:32px;max-width:100%" src="data:audio/wav;base64,{data}"></audio>'

    def show(self, ctx: Any = None, **kwargs: Any) -> Any:
        """Draw its spectrogram into matplotlib axes."""
        return ToSpectrogram(max(self.seconds, 0.1), self.rate)(self).show(ctx=ctx, **kwargs)

    def __repr__(self) -> str:
        return f"Sound {self.seconds:.2f} s, {self.rate:,} Hz"


class TensorSpectrogram(TensorImage):
    """A mel spectrogram: 1 × mels × frames, 0 (silence) to 1 (the loudest of the recording); low pitches first."""

    _show_args = {"cmap": "magma", "origin": "lower"}  # noqa: RUF012


class OpenSound(Transform):
    """Opens what `get_items` or `get_x` gives as a `Sound`, at one sample rate."""

    opens_files = True  # who lists items stops here
    input_types = (Path, str, bytes, np.ndarray)  # where fastai's `predict` begins

    def __init__(self, sample_rate: int = 16000):
        self.sample_rate = sample_rate
        super().__init__()

    def encodes(self, source: Path | str | bytes | np.ndarray) -> Sound:
        return Sound.create(source, self.sample_rate)


class ToSpectrogram(Transform):
    """Draws a `Sound` as a picture of one length: shorter ones end in silence, longer ones are cut."""

    order = 1

    def __init__(self, seconds: float, sample_rate: int, window: float = 25, hop: float = 10, mels: int = 64):
        self.seconds, self.sample_rate, self.window, self.hop, self.mels = seconds, sample_rate, window, hop, mels
        super().__init__()

    def encodes(self, sound: Sound) -> TensorSpectrogram:
        import torch

        wanted = round(self.seconds * self.sample_rate)
        samples = sound.samples[:wanted]
        samples = np.pad(samples, (0, wanted - len(samples)))
        window = max(2, round(self.window * self.sample_rate / 1000))
        power = _librosa().feature.melspectrogram(
            y=samples, sr=self.sample_rate, n_mels=self.mels, win_length=window,
            n_fft=max(512, 2 ** (window - 1).bit_length()), hop_length=max(1, round(self.hop * self.sample_rate / 1000)),
        )  # fmt: skip
        loudest = float(power.max())
        if loudest <= 1e-10:  # silence has no loudest sound to be measured by
            return TensorSpectrogram(torch.zeros(1, *power.shape))
        decibels = 10 * np.log10(np.maximum(power, loudest * 10 ** (-FLOOR / 10)) / loudest)
        return TensorSpectrogram(torch.from_numpy(np.clip(decibels / FLOOR + 1, 0, 1).astype("float32"))[None])


def SoundBlock(
    seconds: float, sample_rate: int = 16000, window: float = 25, hop: float = 10, mels: int = 64
) -> TransformBlock:
    """Return a `TransformBlock` for recordings, drawn as mel spectrograms.

    Decibels over mel-spaced pitches and time (Stevens et al. 1937, https://doi.org/10.1121/1.1915893), from the loudest of the
    recording down to 80 dB below it. Recordings of several channels become one, those at other rates are resampled.

    Args:
        seconds: length that all are brought to: shorter ones end in silence, longer ones are cut.
        sample_rate: in Hz.
        window, hop: of the spectrogram, in milliseconds; the picture has `1000 * seconds / hop + 1` columns.
        mels: rows of the picture.

    Returns:
        A block whose items are `Sound` and, for the model, `TensorSpectrogram` (1 × mels × columns).

    Example:
        >>> SoundBlock(seconds=1.5, sample_rate=8000, mels=40)  # doctest: +SKIP
    """
    return TransformBlock(
        type_tfms=OpenSound(sample_rate), item_tfms=ToSpectrogram(seconds, sample_rate, window, hop, mels)
    )


def _read(source: Any) -> tuple[Any, int]:
    import_soundfile()
    import soundfile

    if isinstance(source, (str, Path)) and not Path(source).is_file():
        raise no_such_file(Path(source).absolute())
    try:
        return soundfile.read(io.BytesIO(source) if isinstance(source, bytes) else str(source), dtype="float32")  # type: ignore[no-any-return]
    except Exception as error:
        raise no_sound(source) from error


def _librosa() -> Any:
    import_soundfile()
    import librosa

    return librosa
