"""A trained model: forest and calibration, saved without code in them."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaultak.wire.codec import UNREADABLE
from vaultak_models.features import FEATURE_SET, FEATURES
from vaultak_models.forest import Floats, Forest

SHIPPED = Path(__file__).parent / "shipped"
MAX_MODEL_BYTES = 64 * 1024 * 1024
MAX_UNPACKED_BYTES = 4 * MAX_MODEL_BYTES
FORMAT = 1


class ModelError(ValueError):
    """A model that cannot be used; the text says which file and why."""


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """`manifest.json` beside `model.npz`."""

    format: int
    feature_set: int
    features: tuple[str, ...]
    sha256: str
    made_by: str
    """The command that makes this model again."""
    trained_on: str


class RiskModel(NamedTuple):
    """Immutable. `version` names the exact parameters and feature set."""

    version: str
    forest: Forest
    knots: Floats
    exceedance: Floats
    tail_knots: Floats
    tail_exceedance: Floats

    @classmethod
    def load(cls, path: Path | str | None = None) -> RiskModel:
        """The model in a directory, or the one that ships. Raises `ModelError`."""
        directory = Path(path) if path is not None else SHIPPED
        try:
            manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=Manifest)
            data = _read(directory / "model.npz")
        except (OSError, *UNREADABLE) as e:
            raise ModelError(f"no model in `{directory}`: {e}") from None
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise ModelError(f"`{directory / 'model.npz'}` is not the file that its manifest describes")
        if manifest.format != FORMAT or manifest.feature_set != FEATURE_SET:
            raise ModelError(f"the model in `{directory}` is for feature set {manifest.feature_set}, not {FEATURE_SET}")
        try:
            return _parse(data, f"{FEATURE_SET}-{manifest.sha256[:12]}")
        except _BROKEN as e:
            raise ModelError(f"the model in `{directory}` cannot be used: {e}") from None

    def save(self, directory: Path, *, made_by: str, trained_on: str) -> Manifest:
        """Write `model.npz`, then `manifest.json`; the same model gives the same bytes."""
        directory.mkdir(parents=True, exist_ok=True)
        data = _dump(self)
        manifest = Manifest(
            format=FORMAT,
            feature_set=FEATURE_SET,
            features=tuple(feature.name for feature in FEATURES),
            sha256=hashlib.sha256(data).hexdigest(),
            made_by=made_by,
            trained_on=trained_on,
        )
        _write(directory / "model.npz", data)
        _write(directory / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
        return manifest


_ARRAYS = ("feature", "threshold", "path", "knots", "exceedance", "tail_knots", "tail_exceedance")


_BROKEN = (
    ValueError, LookupError, TypeError, EOFError, OSError, MemoryError, ArithmeticError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
"""What unpacking foreign arrays can raise: all that zip, deflate and the arrays' headers come to."""


def _parse(data: bytes, version: str) -> RiskModel:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        if sum(entry.file_size for entry in file.zip.infolist()) > MAX_UNPACKED_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        arrays = {name: file[name] for name in _ARRAYS}
        depth, samples = (int(n) for n in file["shape"])
    forest = Forest(
        arrays["feature"].astype(np.int32),
        arrays["threshold"].astype(np.float64),
        arrays["path"].astype(np.float64),
        depth,
        samples,
    )
    forest.check(len(FEATURES))
    tables = [arrays[name].astype(np.float64) for name in _ARRAYS[3:]]
    for knots, exceedance in (tables[:2], tables[2:]):
        _check_table(knots, exceedance)
    return RiskModel(version, forest, *tables)


def _check_table(knots: Floats, exceedance: Floats) -> None:
    if knots.ndim != 1 or knots.shape != exceedance.shape or not 2 <= knots.size <= 65_536:
        raise ValueError("a calibration table of the wrong shape")
    if not (np.isfinite(knots).all() and np.isfinite(exceedance).all()):
        raise ValueError("a calibration table with numbers that are not finite")
    if (np.diff(knots) <= 0).any() or (np.diff(exceedance) < 0).any():
        raise ValueError("a calibration table that does not rise")


def _dump(model: RiskModel) -> bytes:
    forest = model.forest
    tables = (model.knots, model.exceedance, model.tail_knots, model.tail_exceedance)
    arrays: list[NDArray[Any]] = [forest.feature, forest.threshold, forest.path, *tables]
    arrays.append(np.array([forest.depth, forest.samples]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in zip((*_ARRAYS, "shape"), arrays, strict=True):
            entry = io.BytesIO()
            np.save(entry, array, allow_pickle=False)
            # A fixed date: the same model is the same file.
            file.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), entry.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_MODEL_BYTES:
        raise ModelError(f"`{path}` is larger than {MAX_MODEL_BYTES:,} bytes")
    return path.read_bytes()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
