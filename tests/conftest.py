"""What all tests share: nothing of the machine's PostgreSQL settings gets in."""

import gc
import os

import pytest


@pytest.fixture(autouse=True, scope="module")
def nothing_from_before_to_collect():
    """What is there ahead of a file's tests need not be looked at behind each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_settings_from_outside(tmp_path_factory):
    """Environment variables of libpq would change what the tests connect to."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("PG"):
                patch.delenv(name)
        empty = tmp_path_factory.mktemp("home")
        patch.setenv("PGPASSFILE", str(empty / "pgpass"))
        patch.setenv("PGSERVICEFILE", str(empty / "pg_service.conf"))
        patch.setenv("PGSYSCONFDIR", str(empty))
        yield
