"""Trained models kept in a directory: `<version>/model.npz`, `manifest.json` and `record.json`.

A version is written beside the others and appears whole or not at all. What is read is checked: the SHA-256 of the
arrays, the feature set, that the version is what the arrays come to. No code is loaded, whatever the files hold.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from vaultak.errors import VaultakError
from vaultak.wire.codec import UNREADABLE
from vaultak_models.drift import Reference
from vaultak_models.model import ModelError, RiskModel
from vaultak_models.training import Fitted

RECORD = "record.json"
FILES = ("model.npz", "manifest.json", RECORD)
CURRENT = "current.json"
SHIPPED = "shipped"
"""The model of the package: what judges until another one is promoted."""
MAX_RECORD_BYTES = 1024 * 1024
MAX_BEFORE = 50
_VERSION = re.compile(r"[0-9]{1,4}-[0-9a-f]{12}")
_INCOMING = ".incoming-"


class RegistryError(VaultakError):
    """A version that is not there or cannot be used; the text says which and why."""


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model was trained on."""

    source: str
    since: str
    """RFC 3339: the first event; `until` the last."""
    until: str
    events: Annotated[int, msgspec.Meta(ge=0)]
    agents: Annotated[int, msgspec.Meta(ge=0)]
    bad: Annotated[int, msgspec.Meta(ge=0)]
    """Findings of actions that were judged bad or stopped."""


class ModelRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a trained version beside its arrays."""

    version: str
    sha256: str
    """Of `model.npz`."""
    feature_set: int
    trained_at: str
    window: Window
    metrics: dict[str, float]
    """As `Fitted`, and `unreadable`: how many lines or rows of the window were no events."""
    reference: Reference


class Refused(msgspec.Struct, frozen=True):
    """A version that is in the directory and cannot be used."""

    version: str
    why: str


class Current(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which version judges, and which did before, the last of them last."""

    version: str = SHIPPED
    before: tuple[str, ...] = ()
    epoch: int = 0
    """Of the newest promotion that was heard of, or told to others: what is older changes nothing."""


class Registry:
    """Versions in `directory`, which is made when the first is added."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def add(self, fitted: Fitted, window: Window, *, trained_at: str) -> ModelRecord:
        """Save a model as a version. Adding what is there already changes nothing. Raises `RegistryError`."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.directory))
        except OSError as e:
            raise RegistryError(f"models cannot be kept in `{self.directory}`: {e.strerror or e}") from None
        try:
            manifest = fitted.model.save(incoming, made_by="vaultak model train", trained_on=_told(window))
            record = ModelRecord(
                version=RiskModel.load(incoming).version,
                sha256=manifest.sha256,
                feature_set=manifest.feature_set,
                trained_at=trained_at,
                window=window,
                metrics=fitted.metrics,
                reference=fitted.reference,
            )
            (incoming / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
            return self._publish(incoming, record)
        except (ModelError, OSError) as e:
            raise RegistryError(f"the model cannot be saved: {e}") from None
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _publish(self, incoming: Path, record: ModelRecord) -> ModelRecord:
        incoming.chmod(0o755)
        try:
            os.rename(incoming, self.directory / record.version)
        except OSError:
            if not (self.directory / record.version).exists():
                raise
        return self.record(record.version)

    def versions(self) -> list[str]:
        """Names of what looks like a version, whether it can be used or not."""
        try:
            return sorted(path.name for path in self.directory.iterdir() if _VERSION.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as e:
            raise RegistryError(f"`{self.directory}` cannot be read: {e.strerror or e}") from None

    def records(self) -> list[ModelRecord | Refused]:
        """All versions, the newest first; those that cannot be used at the end, each with the reason."""
        found: list[ModelRecord] = []
        refused: list[Refused] = []
        for version in self.versions():
            try:
                found.append(self.record(version))
            except RegistryError as e:
                refused.append(Refused(version, str(e)))
        return [*sorted(found, key=lambda record: (record.trained_at, record.version), reverse=True), *refused]

    def record(self, version: str) -> ModelRecord:
        """What is known of a version, checked against its arrays. Raises `RegistryError`."""
        return self.load(version)[1]

    def load(self, version: str) -> tuple[RiskModel, ModelRecord]:
        """A version, ready to judge. Raises `RegistryError`."""
        path = self.path(version)
        try:
            with (path / RECORD).open("rb") as file:
                record = msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=ModelRecord)
            for distribution in record.reference:
                distribution.check()
            model = RiskModel.load(path)
        except FileNotFoundError:
            raise RegistryError(f"there is no model `{version}` in `{self.directory}`") from None
        except (OSError, ValueError, *UNREADABLE) as e:
            raise RegistryError(f"model `{version}` cannot be used: {e}") from None
        if not model.version == record.version == version:
            raise RegistryError(f"model `{version}` cannot be used: its arrays are those of {model.version}")
        return model, record

    def current(self) -> Current:
        """Which version judges. Raises `RegistryError` for a file that cannot be used."""
        try:
            with (self.directory / CURRENT).open("rb") as file:
                return msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=Current)
        except FileNotFoundError:
            return Current()
        except (OSError, *UNREADABLE) as e:
            raise RegistryError(f"`{self.directory / CURRENT}` cannot be used: {e}") from None

    def promote(self, version: str) -> Current:
        """Let a version judge from now on: one that can be used, or `shipped`. Raises `RegistryError`."""
        if version != SHIPPED:
            self.load(version)
        now = self.current()
        if now.version == version:
            return now
        return self._set(Current(version, (*now.before, now.version)[-MAX_BEFORE:], now.epoch))

    def roll_back(self) -> Current:
        """Let the version judge that did before. Raises `RegistryError` where there was none, or it cannot be used."""
        now = self.current()
        if not now.before:
            raise RegistryError(f"no model judged before `{now.version}`")
        *before, version = now.before
        if version != SHIPPED:
            self.load(version)
        return self._set(Current(version, tuple(before), now.epoch))

    def heard(self, epoch: int) -> None:
        """A promotion was told to others: theirs that are older no longer count here."""
        now = self.current()
        if epoch > now.epoch:
            self._set(Current(now.version, now.before, epoch))

    def files_of(self, version: str) -> dict[str, bytes]:
        """What another host needs to have this version; nothing for the package's. Raises `RegistryError`."""
        if version == SHIPPED:
            return {}
        self.load(version)
        try:
            return {name: (self.path(version) / name).read_bytes() for name in FILES}
        except OSError as e:
            raise RegistryError(f"model `{version}` cannot be read: {e.strerror or e}") from None

    def take_over(self, version: str, files: Mapping[str, bytes], epoch: int) -> Current:
        """Add a version that was promoted elsewhere, checked as any other, and let it judge. Raises `RegistryError`."""
        now = self.current()
        if version != SHIPPED and version not in self.versions():
            self._receive(version, files)
        if version != SHIPPED:
            self.load(version)
        before = now.before if now.version == version else (*now.before, now.version)[-MAX_BEFORE:]
        return self._set(Current(version, before, max(epoch, now.epoch)))

    def _receive(self, version: str, files: Mapping[str, bytes]) -> None:
        final = self.path(version)
        if set(files) != set(FILES):
            raise RegistryError(f"model `{version}` came with {sorted(files)[:5]}, not with {', '.join(FILES)}")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            incoming = Path(tempfile.mkdtemp(prefix=_INCOMING, dir=self.directory))
            try:
                for name, content in files.items():
                    (incoming / name).write_bytes(content)
                found = RiskModel.load(incoming).version
                if found != version:
                    raise RegistryError(f"model `{version}` cannot be used: its arrays are those of {found}")
                incoming.chmod(0o755)
                os.rename(incoming, final)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        except (ModelError, OSError) as e:
            if not final.exists():
                raise RegistryError(f"model `{version}` cannot be used: {e}") from None

    def judging(self) -> Path | None:
        """Where the version that judges is; `None`: in the package. Raises `RegistryError`."""
        return self.place_of(self.current().version)

    def model_of(self, version: str) -> RiskModel:
        """A version ready to judge, checked, or the package's. Raises `RegistryError`."""
        return RiskModel.load() if version == SHIPPED else self.load(version)[0]

    def place_of(self, version: str) -> Path | None:
        """Where a version is; `None`: in the package. Raises `RegistryError` for a name that cannot be one's."""
        return None if version == SHIPPED else self.path(version)

    def _set(self, current: Current) -> Current:
        beside = self.directory / f"{CURRENT}.{os.getpid()}"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(msgspec.json.encode(current))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.directory / CURRENT)
        except OSError as e:
            raise RegistryError(f"`{self.directory / CURRENT}` cannot be written: {e.strerror or e}") from None
        return current

    def path(self, version: str) -> Path:
        """Where a version is. Raises `RegistryError` for a name that cannot be one's."""
        if not _VERSION.fullmatch(version):
            raise RegistryError(f"`{version[:80]}` is not a model's version: it is like 1-25127a3daa83")
        return self.directory / version


def _told(window: Window) -> str:
    return f"{window.events:,} events of {window.agents:,} agents, {window.since} to {window.until}"
