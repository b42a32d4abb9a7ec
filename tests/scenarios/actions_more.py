"""Further ways through the standard library: every module that writes, reads or removes a file for its caller."""

from __future__ import annotations

import asyncio
import contextlib
import glob
import importlib
import io
import os
import pathlib
import shutil
import sys
import zipfile
from collections.abc import Callable
from typing import Any

from scenarios.actions_sandbox import Sandbox, Way


def module(name: str) -> Any:
    """Imported by the agent itself, as it would be."""
    return importlib.import_module(name)


def made(name: str, act: Callable[[Sandbox], object], target: str = "new", **more: Any) -> Way:
    return Way(name, act, lambda s: s.exists(target), "file_write", lambda s: s.path(target), **more)


def sees(name: str, act: Callable[[Sandbox], object], target: str = "data.txt", **more: Any) -> Way:
    def run(s: Sandbox) -> None:
        s.result = act(s)

    return Way(name, run, lambda s: "secret" in str(s.result), "file_read", lambda s: s.path(target), **more)


def reads(name: str, act: Callable[[Sandbox], object], *errors: str, target: str = "data.txt", **more: Any) -> Way:
    """The reader finds that the file is none of its kind: it has read it."""

    def run(s: Sandbox) -> None:
        try:
            act(s)
        except Exception as e:
            if type(e).__name__ not in errors:
                raise
        s.result = True

    return Way(name, run, lambda s: s.result is True, "file_read", lambda s: s.path(target), **more)


def removes(name: str, act: Callable[[Sandbox], object], target: str = "data.txt", **more: Any) -> Way:
    return Way(name, act, lambda s: not s.exists(target), "file_delete", lambda s: s.path(target), **more)


def _wave(s: Sandbox) -> None:
    with open(s.path("new"), "wb") as file, module("wave").open(file) as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"xx")


def _configuration(s: Sandbox) -> None:
    parser = module("configparser").ConfigParser()
    parser["a"] = {"b": "c"}
    with open(s.path("new"), "w") as file:
        parser.write(file)


def _source(s: Sandbox) -> None:
    (s.root / "source.py").write_text("x = 1\n")


def _application(s: Sandbox) -> None:
    (s.root / "dir" / "__main__.py").write_text("x = 1\n")


def _profile(s: Sandbox, name: str) -> None:
    profile = module(name).Profile()
    profile.create_stats()
    profile.dump_stats(s.path("new"))


def _statistics(s: Sandbox) -> None:
    profile = module("cProfile").Profile()
    profile.runcall(int)
    module("pstats").Stats(profile).dump_stats(s.path("new"))


def _snapshot(s: Sandbox) -> None:
    tracemalloc = module("tracemalloc")
    tracemalloc.start()
    try:
        tracemalloc.take_snapshot().dump(s.path("new"))
    finally:
        tracemalloc.stop()


def _log(s: Sandbox) -> None:
    handler = module("logging.handlers").RotatingFileHandler(s.path("data.txt"), maxBytes=1, backupCount=1)
    s.keep(handler, handler.close)


def _resources(s: Sandbox) -> str:
    package = type(sys)("package_in_sandbox")
    machinery = module("importlib.machinery")
    loader = machinery.SourceFileLoader(package.__name__, s.path("__init__.py"))
    package.__spec__ = machinery.ModuleSpec(package.__name__, loader, origin=s.path("__init__.py"), is_package=True)
    return str(module("importlib.resources").files(package).joinpath("data.txt").read_text())


def _package_data(s: Sandbox) -> bytes:
    name = "package_with_data"
    machinery = module("importlib.machinery")
    package = type(sys)(name)
    package.__file__ = s.path("package.py")
    package.__spec__ = machinery.ModuleSpec(name, machinery.SourceFileLoader(name, s.path("package.py")))
    sys.modules[name] = package
    try:
        return bytes(module("pkgutil").get_data(name, "data.txt"))
    finally:
        del sys.modules[name]


def _walked(s: Sandbox) -> str:
    return "".join(path.read_text() for path in pathlib.Path(s.root).rglob("data*"))


def _in_directory(s: Sandbox) -> None:
    with contextlib.chdir(s.root):
        os.remove("data.txt")


def _in_descriptor(s: Sandbox) -> None:
    before = os.getcwd()
    os.fchdir(s.dir_fd)
    try:
        os.remove("../data.txt")
    finally:
        os.chdir(before)


def _opener(s: Sandbox) -> str:
    with open("data.txt", opener=lambda name, flags: os.open(f"../{name}", flags, dir_fd=s.dir_fd)) as file:
        return file.read()


def _by_path_descriptor(s: Sandbox) -> str:
    fd = os.open(s.path("data.txt"), os.O_PATH)
    try:
        return pathlib.Path(f"/proc/self/fd/{fd}").read_text()
    finally:
        os.close(fd)


def _zip(s: Sandbox) -> None:
    with zipfile.ZipFile(s.path("archive.zip"), "w") as archive:
        archive.writestr("inside.txt", "secret")


def _page(s: Sandbox) -> None:
    with contextlib.chdir(s.root), contextlib.redirect_stdout(io.StringIO()):
        module("pydoc").writedoc(type(sys)("new"))


def _coverage(s: Sandbox) -> None:
    results = module("trace").CoverageResults(counts={}, outfile=s.path("new"))
    results.write_results(coverdir=s.path("dir"))


async def _late(path: str) -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            os.remove(path)

    async for _ in numbers():
        break


def _handled(s: Sandbox, name: str) -> str:
    with module("urllib.request").urlopen(f"file://{s.path(name)}") as answer:
        return str(answer.read())


def _certificate(s: Sandbox, **files: str) -> None:
    ssl = module("ssl")
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**files)


def _key_log(s: Sandbox) -> None:
    ssl = module("ssl")
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = s.path("new")


WAYS: tuple[Way, ...] = (
    made("plistlib", lambda s: module("plistlib").dump({}, open(s.path("new"), "wb"))),
    made("wave", _wave),
    made("mailbox_mbox", lambda s: module("mailbox").mbox(s.path("new")).close(), repeats=True),
    made("mailbox_maildir", lambda s: module("mailbox").Maildir(s.path("new")), repeats=True),
    made("mailbox_mh", lambda s: module("mailbox").MH(s.path("new")), repeats=True),
    made("dbm_dumb", lambda s: module("dbm.dumb").open(s.path("new"), "n").close(), "new.dat", repeats=True),
    made("configparser", _configuration),
    made("logging_basic", lambda s: module("logging").FileHandler(s.path("new")).close()),
    made("logging_watched", lambda s: module("logging.handlers").WatchedFileHandler(s.path("new")).close()),
    made("zipapp", lambda s: module("zipapp").create_archive(s.path("dir"), s.path("new")), prepare=_application),
    made("profile", lambda s: _profile(s, "profile")),
    made("cprofile", lambda s: _profile(s, "cProfile")),
    made("pstats", _statistics),
    made("tracemalloc", _snapshot),
    made("trace_results", _coverage),
    made("pydoc_writedoc", _page, "new.html"),
    made("ssl_key_log", _key_log, outcome=False),
    made("elementtree", lambda s: _tree().write(s.path("new"))),
    made("py_compile_cached", lambda s: module("py_compile").compile(s.path("source.py")), "__pycache__",
         prepare=_source),
    made("mktemp", lambda s: open(_named(s), "w").close()),
    made("rotating_log_rollover", lambda s: s.kept.doRollover(), "data.txt.1", prepare=_log, repeats=True),
    made("symlink_dir_fd", lambda s: os.symlink("a", "../new", dir_fd=s.dir_fd)),
    made("mkfifo_dir_fd", lambda s: os.mkfifo("../new", dir_fd=s.dir_fd)),
    made("shutil_unpack", lambda s: shutil.unpack_archive(s.path("archive.zip"), s.path("new")), prepare=_zip,
         repeats=True),
    sees("urlopen_file", lambda s: _handled(s, "data.txt")),
    sees("urlopen_file_through_link", lambda s: _handled(s, "link")),
    sees("tokenize_open", lambda s: module("tokenize").open(s.path("data.txt")).read()),
    sees("importlib_resources", _resources),
    sees("pkgutil_get_data", _package_data),
    sees("linecache_update", lambda s: module("linecache").updatecache(s.path("data.txt")), repeats=True),
    sees("email_file", lambda s: module("email").message_from_file(open(s.path("data.txt")))),
    sees("rglob", _walked),
    sees("opener_dir_fd", _opener),
    sees("open_through_path_descriptor", _by_path_descriptor),
    sees("open_through_proc_root", lambda s: pathlib.Path(f"/proc/self/root{s.path('data.txt')}").read_text()),
    sees("zipimport_get_data", lambda s: _zip_data(s), "archive.zip", prepare=_zip, repeats=True),
    sees("fileinput_hook", lambda s: list(module("fileinput").input(s.path("data.txt"), encoding="utf-8"))),
    reads("netrc", lambda s: module("netrc").netrc(s.path("data.txt")), "NetrcParseError"),
    reads("configparser_read", lambda s: _parser().read(s.path("data.txt")), "MissingSectionHeaderError"),
    reads("gettext_catalogue", lambda s: module("gettext").GNUTranslations(open(s.path("data.txt"), "rb")), "OSError"),
    reads("elementtree_parse", lambda s: module("xml.etree.ElementTree").parse(s.path("data.txt")), "ParseError"),
    reads("sax_parse", lambda s: module("xml.sax").parse(s.path("data.txt"), _handler()), "SAXParseException"),
    reads("minidom_parse", lambda s: module("xml.dom.minidom").parse(s.path("data.txt")), "ExpatError"),
    reads("mimetypes_file", lambda s: module("mimetypes").MimeTypes().read(s.path("data.txt"))),
    reads("filecmp", lambda s: module("filecmp").cmp(s.path("data.txt"), s.path("link"), shallow=False), repeats=True),
    reads("tarfile_open", lambda s: module("tarfile").open(s.path("data.txt")), "ReadError", repeats=True),
    reads("zipfile_open", lambda s: zipfile.ZipFile(s.path("data.txt")), "BadZipFile"),
    reads("plistlib_load", lambda s: module("plistlib").load(open(s.path("data.txt"), "rb")), "InvalidFileException"),
    reads("logging_file_config", lambda s: module("logging.config").fileConfig(s.path("data.txt")),
          "MissingSectionHeaderError", "RuntimeError"),
    reads("ssl_certificate_directory", lambda s: _certificate(s, capath=s.path("dir")), target="dir"),
    reads("ssl_decode_certificate", lambda s: module("_ssl")._test_decode_cert(s.path("data.txt")), "SSLError"),
    removes("glob_remove", lambda s: [os.remove(path) for path in glob.glob(s.path("dat*"))]),
    removes("remove_in_changed_directory", _in_directory),
    removes("remove_in_descriptor", _in_descriptor),
    removes("rename_dir_fd", lambda s: os.rename("../data.txt", "moved", src_dir_fd=s.dir_fd, dst_dir_fd=s.dir_fd)),
    removes("remove_in_async_generator", lambda s: asyncio.run(_late(s.path("data.txt")))),
)  # fmt: skip


def _tree() -> Any:
    trees = module("xml.etree.ElementTree")
    return trees.ElementTree(trees.Element("a"))


def _named(s: Sandbox) -> str:
    module("tempfile").mktemp(dir=s.path("dir"))
    return s.path("new")


def _zip_data(s: Sandbox) -> bytes:
    return bytes(module("zipimport").zipimporter(s.path("archive.zip")).get_data("inside.txt"))


def _parser() -> Any:
    return module("configparser").ConfigParser()


def _handler() -> Any:
    return module("xml.sax.handler").ContentHandler()
