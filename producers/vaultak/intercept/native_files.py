"""Files that C code of the standard library opens by itself, without an event: judged by patches.

Histories of `readline`, certificates and keys of `ssl`, databases of `dbm`, shared memory, the shadow passwords, what
`posix_spawn` opens for the child, dumps of `faulthandler`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from vaultak.intercept import paths
from vaultak.intercept.effect import NONE, Classifier, Effect, Effects, Occurrence
from vaultak.intercept.enforce import enforce
from vaultak.intercept.files import is_upkeep
from vaultak.intercept.held import keep_content, remember, through
from vaultak.intercept.patching import patch_function, patch_method, when_imported
from vaultak.intercept.trust import Origin, origins
from vaultak.wire import ActionType

SHADOW = "/etc/shadow"
SHARED_MEMORY = "/dev/shm"  # noqa: S108  # where the kernel shows it
_HISTORY = "~/.history"
_INIT = "~/.inputrc"
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _read(name: object, o: Occurrence) -> Effects:
    path = paths.resolve(name)
    origin = Origin.FOREIGN if o.frame is None else origins.of(o.frame.f_code)
    if path is None or is_upkeep(path, o.frame, origin):
        return NONE
    return (Effect(ActionType.FILE_READ, paths.printable(path), {"op": o.event}),)


def _written(name: object, o: Occurrence) -> Effects:
    path = paths.resolve(name)
    if path is None:
        return NONE
    return (Effect(ActionType.FILE_WRITE, paths.printable(path), {"op": o.event}, keep_content(path)),)


def _removed(path: str, o: Occurrence) -> Effects:
    return (
        Effect(
            ActionType.FILE_DELETE, paths.printable(path), {"op": o.event}, lambda undo, i: undo.before_delete(i, path)
        ),
    )


def _argument(o: Occurrence, position: int, *keywords: str) -> Any:
    """A positional argument (after the instance, if there is one) or a keyword's."""
    if len(o.args) > position:
        return o.args[position]
    kwargs = o.call.kwargs if o.call is not None else {}
    return next((kwargs[keyword] for keyword in keywords if keyword in kwargs), None)


def _named(do: Callable[[object, Occurrence], Effects], position: int, default: str) -> Classifier:
    return lambda o: do(_argument(o, position) or os.path.expanduser(default), o)


def _included(o: Occurrence) -> Effects:
    """A binding that has a file of further ones read."""
    directive, _, name = paths.text(o.args[0]).strip().partition(" ")
    return _read(os.path.expanduser(name.strip()), o) if directive.lower() == _INCLUDE else NONE


_INCLUDE = "$include"

# -- ssl -------------------------------------------------------------------------------------------------------


def _certificates(*arguments: tuple[int, str]) -> Classifier:
    def classify(o: Occurrence) -> Effects:
        given = (_argument(o, position, keyword) for position, keyword in arguments)
        return tuple(effect for name in given if name is not None for effect in _read(name, o))

    return classify


_PLACES = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
"""Where the host has its certificates read from."""


def _defaults(o: Occurrence) -> Effects:
    """Certificates from where the agent has put the variables that OpenSSL looks at."""
    changed = (now for name, host in _PLACES.items() if (now := os.environ.get(name)) and now != host)
    return tuple(effect for place in changed for effect in _read(place, o))


# -- dbm -------------------------------------------------------------------------------------------------------


def _database(suffixes: tuple[str, ...]) -> Classifier:
    def classify(o: Occurrence) -> Effects:
        name, flags = paths.text(o.args[0]), str(_argument(o, 1) or "r")
        do = _read if flags[:1] == "r" else _written
        return tuple(effect for suffix in suffixes for effect in do(name + suffix, o))

    return classify


# -- shared memory ---------------------------------------------------------------------------------------------


def _segment(o: Occurrence) -> str:
    return os.path.join(SHARED_MEMORY, paths.text(_argument(o, 0, "path")).lstrip("/"))


def _shared(o: Occurrence) -> Effects:
    path, writes = _segment(o), bool(int(_argument(o, 1, "flags") or 0) & _WRITE_FLAGS)
    effects = _written(path, o) if writes else _read(path, o)
    return tuple(effect.but(allowed=remember(path, writes=writes)) for effect in effects)


# -- posix_spawn -----------------------------------------------------------------------------------------------


def _spawn_opens(o: Occurrence) -> Effects:
    """`file_actions`: files that the new process opens before its program runs."""
    effects: list[Effect] = []
    for action in _actions(_argument(o, 3, "file_actions")):
        if action[0] == os.POSIX_SPAWN_OPEN and len(action) > 3:
            effects += _written(action[2], o) if int(action[3]) & _WRITE_FLAGS else _read(action[2], o)
        elif action[0] == os.POSIX_SPAWN_DUP2 and len(action) > 1:
            effects += through(action[1], o.event, writes=True)
    return tuple(effects)


def _actions(given: object) -> Iterable[Any]:
    # An iterator would be used up by looking at it: the call itself refuses what is no sequence.
    return given if isinstance(given, list | tuple) else ()


# -- faulthandler ----------------------------------------------------------------------------------------------


def _dumped(position: int) -> Classifier:
    def classify(o: Occurrence) -> Effects:
        file = _argument(o, position, "file")
        if file is None:
            return NONE
        return through(file if isinstance(file, int) else file.fileno(), o.event, writes=True)

    return classify


CLASSIFIERS: dict[str, Classifier] = {}
"""None: these are effects without an event."""

_MODULES: dict[str, dict[str, Classifier]] = {
    "readline": {
        "read_history_file": _named(_read, 0, _HISTORY),
        "write_history_file": _named(_written, 0, _HISTORY),
        "append_history_file": _named(_written, 1, _HISTORY),
        "read_init_file": _named(_read, 0, _INIT),
        "parse_and_bind": _included,
    },
    "_ssl": {"_test_decode_cert": lambda o: _read(o.args[0], o)},
    "spwd": dict.fromkeys(("getspnam", "getspall"), lambda o: _read(SHADOW, o)),
    "_gdbm": {"open": _database(("",))},
    "_dbm": {"open": _database((".dir", ".pag"))},
    "_posixshmem": {"shm_open": _shared, "shm_unlink": lambda o: _removed(_segment(o), o)},
    "faulthandler": {
        "dump_traceback": _dumped(0),
        "enable": _dumped(0),
        "dump_traceback_later": _dumped(2),
        "register": _dumped(1),
    },
}
_ALIASES = {"_gdbm": "dbm.gnu", "_dbm": "dbm.ndbm"}
"""Modules that took the functions over by name."""


def _patch_module(module: str) -> None:
    for name, classifier in _MODULES[module].items():
        patch_function((module, _ALIASES.get(module, module)), name, enforce(f"{module}.{name}", classifier))


def _patch_ssl() -> None:
    context = sys.modules["ssl"].SSLContext
    chain = enforce("ssl.load_cert_chain", _certificates((1, "certfile"), (2, "keyfile")), on_instance=True)
    locations = enforce("ssl.load_verify_locations", _certificates((1, "cafile"), (2, "capath")), on_instance=True)
    patch_method(context, "load_cert_chain", chain)
    patch_method(context, "load_verify_locations", locations)
    patch_method(
        context, "set_default_verify_paths", enforce("ssl.set_default_verify_paths", _defaults, on_instance=True)
    )
    patch_method(context, "load_dh_params", enforce("ssl.load_dh_params", _certificates((1, "path")), on_instance=True))


def patch() -> None:
    for module in _MODULES:
        when_imported(module, lambda _module=module: _patch_module(_module))  # type: ignore[misc]
    when_imported("ssl", _patch_ssl)
    for name in ("posix_spawn", "posix_spawnp"):
        patch_function(("os", "posix"), name, enforce(f"os.{name}", _spawn_opens))
