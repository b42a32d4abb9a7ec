"""The shipped rules, as a policy to start from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from vaultak.errors import PolicyError

HEADER = """# A policy to start from. Take out what does not fit; run `vaultak policy lint` and `vaultak policy test`.
# To try a rule without its deciding anything, give it `mode: shadow`.
"""


def packs() -> dict[str, str]:
    """The YAML of each shipped pack by its name, in alphabetic order."""
    folder = files("vaultak_streams.policy").joinpath("pack")
    found = {path.name.removesuffix(".yaml"): path for path in folder.iterdir() if path.name.endswith(".yaml")}
    return {name: found[name].read_text(encoding="utf-8") for name in sorted(found)}


def starting_policy(names: Sequence[str] = ()) -> str:
    """One YAML text of the packs named, each once; all of them where none is. Raises `PolicyError` on other names."""
    shipped = packs()
    if unknown := [name for name in names if name not in shipped]:
        raise PolicyError(f"there is no pack `{unknown[0]}`; there are {', '.join(f'`{name}`' for name in shipped)}")
    chosen = [shipped[name] for name in dict.fromkeys(names or shipped)]
    return HEADER + "---\n" + "---\n".join(chosen)
