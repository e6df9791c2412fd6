"""What all tests share: nothing of the machine's PostgreSQL settings gets in."""

import gc
import os

import pytest


def pytest_collection_finish():
    """What is there before the first test need not be collected behind each."""
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
