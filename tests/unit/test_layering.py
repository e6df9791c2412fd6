"""The house is built as designed: imports point down, nothing grows without limit."""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "chopin"

# Every module of the package has a place; the package itself (__init__) is above all.
LAYERS = {
    # L0 words
    0: "exceptions _errorbase _sqlstates types _oids _wire _instances",
    # L1 memory
    1: "_buffers _gate _waiter",
    # L2 values
    2: "_catalog _codecbase _codecs_scalar _codecs_time _codecs_extra _codecs_nested"
    " _codecs_bits _codecs_geo _codecs_contrib _codecs_range _codecs_composite"
    " _codecs_custom _codecs_text _codecs_registry _codecs_json _codecs_classes"
    " _codecs_bounds codecs _codecs_table _codecs _copytext _record _records _rows"
    " _fitting _shapes",
    # L3 protocol
    3: "_protocol _messages _ops _simple _portals _many _batch _streams _startup _copy"
    " _copysql scram auth _statements _effects _functions _outcomes",
    # L4 asyncio
    4: "config _confkeys _confvalues _conninfo _hosts _passfile _servicefile tls"
    " _sharedconfig _tlscontexts aio _execute _copycolumns authenticate dial connect"
    " introspect",
    # L5 user API
    5: "_coroutines _observers _settings _limited connection many customizing"
    " prepared_stmt transaction cursor copying copying_in copying_out _copyfiles"
    " listening _hub pipeline batching streaming _locks _budget"
    " _released _lease _slots _looppool _poolpart _poolopening _poolclosing"
    " _pooloperations _poolsettings _poolstats pool retry _crews _workers runtime",
    # L6 extras
    6: "_as_asyncpg sqlalchemy tracing metrics arrow _arrow testing _testing_binaries"
    " _testing_certs _testing_cluster _testing_guard",
}
LAYER_OF = {name: n for n, names in LAYERS.items() for name in names.split()}
TOP = 7
LAYER_OF["__init__"] = TOP

GENERATED = {"_sqlstates", "_oids"}
NO_IO_BELOW = 4
IO_MODULES = {"asyncio", "socket", "ssl", "logging", "time", "select", "threading"}

FILE_LINES = 800
CLASS_METHODS = 25
FUNCTION_LINES = 60
# Drop-ins have as many methods as what they stand in for.
DROP_INS = {"Connection", "Pool", "PreparedStatement", "Cursor"}

CODE_SUFFIXES = {".py", ".pyi", ".pyx", ".pxd"}
C_SUFFIXES = {".c", ".h"}


def is_made_by_cython(path: Path) -> bool:
    """Whether a C file is a build's output, which is not ours to judge."""
    return path.suffix == ".c" and any(
        path.with_suffix(suffix).exists() for suffix in (".pyx", ".py")
    )


FILES = sorted(
    path
    for path in PACKAGE.rglob("*")
    if path.suffix in CODE_SUFFIXES | C_SUFFIXES and not is_made_by_cython(path)
)
CODE_FILES = [path for path in FILES if path.suffix in CODE_SUFFIXES]


def name_of(path: Path) -> str:
    return path.name


# Reading


@dataclass(frozen=True)
class Line:
    """A logical line: comments and the contents of strings are gone."""

    number: int
    end: int
    indent: int
    text: str


STRING_OR_COMMENT = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
  | [rbfuRBFU]{0,3}
    (?P<quote> \"\"\" | ''' | " | ' )
    (?: \\. | (?!(?P=quote)) . )*
    (?P=quote)
    """,
    re.VERBOSE | re.DOTALL,
)


def blank(match: re.Match) -> str:
    """What is put in place of a comment or string, with the same line breaks."""
    if match["comment"]:
        return ""
    return '""' + "\\\n" * match[0].count("\n")


def logical_lines(source: str) -> list[Line]:
    """Split Python or Cython into logical lines, brackets and backslashes joined."""
    lines, parts, start, depth = [], [], 1, 0
    for number, physical in enumerate(
        STRING_OR_COMMENT.sub(blank, source).split("\n"), start=1
    ):
        if not parts:
            start = number
        depth += sum(map(physical.count, "([{")) - sum(map(physical.count, ")]}"))
        continues = physical.endswith("\\")
        parts.append(physical.removesuffix("\\"))
        if depth > 0 or continues:
            continue
        text = " ".join(parts)
        if text.strip():
            indent = len(text) - len(text.lstrip())
            lines.append(Line(start, number, indent, " ".join(text.split())))
        parts = []
    return lines


FROM = re.compile(r"from\s+(?P<module>[.\w]+)\s+c?import\s+\(?(?P<names>[^)]*)\)?")
IMPORT = re.compile(r"c?import\s+(?P<modules>[\w., ]+)$")
IMPORTS_INSIDE = re.compile(r"\b(?:include\s+\"|importlib|__import__)")


def imports(line: Line) -> list[str]:
    """Modules that a logical line imports; those of the package as ``chopin.x``."""
    if match := FROM.match(line.text):
        module = match["module"]
        if module.startswith("."):
            module = f"chopin.{module.lstrip('.')}".rstrip(".")
        if module != "chopin":
            return [module]
        names = [part.split()[0] for part in match["names"].split(",") if part.strip()]
        # `from chopin import connect` asks the module of that name or, failing that,
        # __init__, which is above everybody.
        return [f"chopin.{n if n in LAYER_OF else '__init__'}" for n in names]
    if match := IMPORT.match(line.text):
        modules = [part.split()[0] for part in match["modules"].split(",")]
        return [
            "chopin.__init__" if module == "chopin" else module for module in modules
        ]
    return []


def layering_faults(name: str, source: str) -> list[str]:
    """What a module imports that its layer forbids, as ``line: reason``."""
    stem, suffix = name.rsplit(".", 1)
    layer = LAYER_OF[stem]
    faults = []
    for line in logical_lines(source):
        for module in imports(line):
            root, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if root == "chopin" and LAYER_OF.get(target, TOP) > layer:
                faults.append(f"{line.number}: L{layer} imports {module} from above")
            # A stub is not run: it may say what a type is called.
            elif root in IO_MODULES and layer < NO_IO_BELOW and suffix != "pyi":
                faults.append(f"{line.number}: L{layer} imports {module}")
        if suffix in ("pyx", "pxd") and re.match(r"include\b", line.text):
            faults.append(f"{line.number}: include; use a module and cimport")
    return faults


FUNCTION = re.compile(
    r"(?:async\s+)?(?:def|cpdef|cdef)\b(?!\s+(?:class|extern|struct|enum|union)\b)"
    r"[^=]*?(?P<name>\w+)\s*\(.*:$"
)
METHOD = re.compile(r"(?:async\s+)?(?:def|cpdef)\s[^=(]*?(?P<name>\w+)\s*\(")
CLASS = re.compile(r"(?:cdef\s+)?class\s+(?P<name>\w+)")


def blocks(lines: list[Line], head: re.Pattern):
    """Each block whose first line fits, with the lines inside it."""
    for index, line in enumerate(lines):
        if match := head.match(line.text):
            inside = []
            for other in lines[index + 1 :]:
                if other.indent <= line.indent:
                    break
                inside.append(other)
            yield line, match["name"], inside


def function_size(code: list[str], inside: list[Line]) -> int:
    """Lines of code of a function: one for its head, no comments, no docstring."""
    if inside and inside[0].text == '""':
        inside = inside[1:]
    if not inside:
        return 1
    body = code[inside[0].number - 1 : inside[-1].end]
    return 1 + sum(bool(line.strip("\\ ")) for line in body)


def budget_faults(name: str, source: str) -> list[str]:
    """What in a file is larger than the budget, as ``line: reason``."""
    faults = []
    n_lines = source.count("\n")
    if n_lines > FILE_LINES and name.rsplit(".", 1)[0] not in GENERATED:
        faults.append(
            f"1: {n_lines} lines in a file, {FILE_LINES} are allowed: split it"
        )
    if Path(name).suffix not in CODE_SUFFIXES:
        return faults
    lines = logical_lines(source)
    code = STRING_OR_COMMENT.sub(blank, source).split("\n")
    for line, function, inside in blocks(lines, FUNCTION):
        size = function_size(code, inside)
        if size > FUNCTION_LINES:
            faults.append(f"{line.number}: {function} has {size} lines of code")
    for line, class_name, inside in blocks(lines, CLASS):
        body = min((other.indent for other in inside), default=0)
        methods = {
            match["name"]
            for other in inside
            if other.indent == body and (match := METHOD.match(other.text))
        }
        public = {method for method in methods if not method.startswith("_")}
        if len(public) > CLASS_METHODS and class_name not in DROP_INS:
            faults.append(f"{line.number}: {class_name} has {len(public)} methods")
    return faults


# The package


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_has_a_place(path):
    """A file that the layer table does not name fails."""
    assert path.stem in LAYER_OF, (
        f"{path.name} has no layer: if it belongs to a concept that is there, put its"
        " contents there; otherwise choose the lowest layer that can hold it and add"
        " its name to LAYERS here and to the table of the design"
    )


@pytest.mark.parametrize("path", CODE_FILES, ids=name_of)
def test_imports_point_down(path):
    """A module imports its own layer or lower ones, and no I/O below L4."""
    assert layering_faults(path.name, path.read_text("utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_budget(path):
    """No file, class or function is larger than a reader can hold."""
    assert budget_faults(path.name, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.suffix in (".py", ".pyi")], ids=name_of
)
def test_reads_imports_as_python_does(path):
    """The reader of Cython sources finds in Python sources what the parser finds."""
    source = path.read_text("utf-8")
    want = sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    got = sorted(line.number for line in logical_lines(source) if imports(line))
    assert got == want


def test_package_needs_only_python():
    """Below the extras nothing is imported but the standard library and the package."""
    foreign = {
        f"{path.name}: {module}"
        for path in CODE_FILES
        if LAYER_OF.get(path.stem, TOP) != 6
        for line in logical_lines(path.read_text("utf-8"))
        if line.indent == 0
        for module in imports(line)
        if module.partition(".")[0]
        not in {*sys.stdlib_module_names, "chopin", "cpython", "libc", "cython"}
    }
    assert foreign == set()


# The test's own eyes


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        (
            "_ops.pyx",
            "from chopin.aio cimport x",
            "1: L3 imports chopin.aio from above",
        ),
        ("_ops.pyx", "from chopin import connect", "1: L3 imports chopin.connect"),
        ("_ops.pyx", "from .aio cimport (\n  x,\n y)", "1: L3 imports chopin.aio"),
        ("scram.py", "import hashlib, socket", "1: L3 imports socket"),
        ("scram.py", "def f():\n    import ssl", "2: L3 imports ssl"),
        ("scram.py", "from asyncio.events import x", "1: L3 imports asyncio.events"),
        ("aio.py", "import chopin", "1: L4 imports chopin.__init__ from above"),
        ("aio.py", "from chopin import fetch", "1: L4 imports chopin.__init__"),
        ("aio.py", "from . import pool", "1: L4 imports chopin.pool from above"),
        ("_rows.pyx", 'include "x.pxi"', "1: include; use a module and cimport"),
        ("_rows.pyx", "x = '''\n'''\nimport time", "3: L2 imports time"),
    ],
)
def test_sees_forbidden_import(name, source, fault):
    """Every form of a forbidden import is found, at its line."""
    (got,) = layering_faults(name, source)
    assert got.startswith(fault)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aio.py", "import asyncio, chopin._ops"),
        ("_ops.pyx", "from chopin cimport _rows\n# import socket\n'import ssl'"),
        ("_ops.pyi", "from asyncio import Future"),
        ("pool.py", "from chopin import _looppool, connection"),
    ],
)
def test_accepts_imports_that_point_down(name, source):
    """Lower layers, the same one, comments and strings are no faults."""
    assert layering_faults(name, source) == []


LONG_BODY = "    x = [\n        1,\n    ]\n" * 20


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("_ops.pyx", f"cdef int f(int a) except -1:\n{LONG_BODY}", "1: f has 61 lines"),
        ("aio.py", f"async def f(a=()):\n{LONG_BODY}", "1: f has 61 lines of code"),
        ("aio.py", "\n" * 801, "1: 801 lines in a file"),
        (
            "aio.py",
            "class A:\n" + "".join(f"    def f{n}(self): ...\n" for n in range(26)),
            "1: A has 26 methods",
        ),
        (
            "_ops.pyx",
            "cdef class A:\n"
            + "".join(f"    cpdef int f{n}(self):\n        pass\n" for n in range(26)),
            "1: A has 26 methods",
        ),
    ],
)
def test_sees_what_is_too_large(name, source, fault):
    """Long functions, long files and wide classes are found in both languages."""
    (got,) = budget_faults(name, source)
    assert got.startswith(fault)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("aio.py", 'def f():\n    """' + "\n" * 70 + '    """\n    return 1\n'),
        ("aio.py", "def f():\n" + "    # why\n\n" * 40 + "    return 1\n"),
        ("_ops.pyx", f"cdef class A:\n{LONG_BODY}"),
        ("_ops.pyx", f'cdef extern from "a.h":\n{LONG_BODY}'),
        (
            "connection.py",
            "class Connection:\n"
            + "".join(f"    def f{n}(self): ...\n" for n in range(60)),
        ),
    ],
)
def test_accepts_what_is_not_code(name, source):
    """Docstrings, comments, classes, declarations and drop-ins do not count."""
    assert budget_faults(name, source) == []
