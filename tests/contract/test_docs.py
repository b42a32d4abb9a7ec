"""What the documents name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaultak import wire

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_names_the_two_commands_and_they_are_targets() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"demo", "test", "setup", "check", "bench", "test-kafka"} <= set(targets)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", "\n".join(path.read_text() for path in DOCUMENTS), re.MULTILINE)
    assert set(named) <= set(targets)


def test_every_topic_is_documented() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert [topic for topic in wire.Topics().all() if topic not in text] == []


def test_every_dependency_says_why_it_is_here() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = (ROOT / "docs" / "dependencies.md").read_text()
    requirements = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["pipeline"],
        *project["dependency-groups"]["dev"],
    ]
    names = [re.split(r"[\[<>=;\s]", requirement)[0] for requirement in requirements]
    assert [name for name in names if name not in listed] == []
