"""Where the files of `infra/` are: beside this package in a checkout, inside it (`_infra`) in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def infra_path(relative: str) -> Path:
    """The path of a file or folder of `infra/`, such as `clickhouse/migrations`.

    Raises `FileNotFoundError` when this installation does not carry it, `ValueError` for a path that leaves `infra/`.
    """
    wanted = Path(relative)
    if wanted.is_absolute() or ".." in wanted.parts:
        raise ValueError(f"`{relative}` is not a path inside infra/")
    for root in (_PACKAGE / "_infra", _PACKAGE.parent):
        if (found := root / wanted).exists():
            return found
    raise FileNotFoundError(f"infra/{relative} is not part of this installation; reinstall vaultak[pipeline]")
