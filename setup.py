"""The compiled modules of Chopin; everything else is in pyproject.toml.

CHOPIN_DEBUG=1 builds with assertions and debug symbols and without optimisation.
Bounds checks stay on in both builds; a module that measured what it gains without them
says so in its own first line. Generated C lies in ``build/``, one directory per Python
version, so that builds for several versions do not meet.
"""

import os
import sys
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("CHOPIN_DEBUG", "") not in ("", "0")
JOBS = min(4, os.cpu_count() or 1)
KIND = "debug" if DEBUG else "release"
CYTHON_DIR = f"build/cython-{sys.implementation.cache_tag}{sys.abiflags}-{KIND}"

# Cython, and Python that has a .pxd beside it: the C types of what is in it.
SOURCES = sorted(
    source
    for source in [*glob("chopin/*.pyx"), *glob("chopin/*.py")]
    if source.endswith("x") or os.path.exists(source.removesuffix("py") + "pxd")
)

# C that a module is linked with, beside what Cython makes of it.
EXTRA_SOURCES = {"chopin/_records.pyx": ["chopin/_record.c"]}

DIRECTIVES = {"language_level": 3}
# Cython makes converters for function pointers in every module that sees one.
QUIET = ["-Wno-unused-function"]
COMPILE_ARGS = [*QUIET, *(["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"])]
MACROS = [] if DEBUG else [("CYTHON_WITHOUT_ASSERTIONS", "1")]


def extension(source: str) -> Extension:
    """One compiled module, named as its file."""
    return Extension(
        name=source.rpartition(".")[0].replace("/", "."),
        sources=[source, *EXTRA_SOURCES.get(source, [])],
        depends=sorted(glob("chopin/*.h")),
        include_dirs=["chopin"],
        define_macros=MACROS,
        extra_compile_args=COMPILE_ARGS,
    )


if __name__ == "__main__":
    setup(
        ext_modules=cythonize(
            [extension(source) for source in SOURCES],
            build_dir=CYTHON_DIR,
            nthreads=min(2, JOBS),
            compiler_directives=DIRECTIVES,
        ),
        options={"build_ext": {"parallel": JOBS}},
    )
