"""The documents say what the code says, as far as that can be compared."""

import re
from pathlib import Path

import pytest

import chopin
from chopin._confkeys import KEYS
from chopin._poolsettings import PoolOptions
from chopin.config import ConnectOptions

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
KEYWORD_ONLY = {
    "connection_class",
    "record_class",
    "pooler",
    "loop",
    "json",
    "codecs",
}


def read(name):
    return (ROOT / name).read_text("utf-8")


def test_connecting_has_every_parameter():
    """docs/connecting.md has a row for each parameter, with its variable."""
    blocks = read("docs/connecting.md").split("\n\n")
    tables = "\n".join(each for each in blocks if each.startswith("| parameter |"))
    got = dict(re.findall(r"^\| `(\w+)` \| (?:`([A-Z_]+)`)?", tables, re.M))
    variables = {name: key.env or "" for name, key in KEYS.items()}
    options = dict.fromkeys(ConnectOptions.__annotations__, "")
    want = dict.fromkeys(KEYWORD_ONLY, "") | options | variables
    del want["dbname"]  # said of `database`
    assert got == want


def test_pool_has_every_argument():
    """docs/pool.md names each argument of create_pool."""
    own = set(PoolOptions.__annotations__) - set(ConnectOptions.__annotations__)
    named = set(re.findall(r"`(\w+)`", read("docs/pool.md")))
    assert own - named == {"loop"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    """A link to a file or to a heading of the same page is not broken."""
    text = path.read_text("utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if link.startswith("#"):
            assert link[1:] in headings
        elif not link.startswith("https://"):
            assert (path.parent / link).exists(), link


def test_changelog_has_this_version():
    """The version of the package has a section."""
    assert f"## [{chopin.__version__}]" in read("CHANGELOG.md")


def test_readme_has_two_commands_that_exist():
    """What the README tells to type is a target of the Makefile."""
    targets = re.findall(r"^(\w+):", read("Makefile"), re.M)
    named = re.findall(r"^make (\w+)", read("README.md"), re.M)
    assert {"demo", "test"} <= set(named) <= set(targets)
