"""A job queue in a table: python examples/jobqueue.py [postgresql://localhost/app].

Jobs are rows. A worker takes one by FOR UPDATE SKIP LOCKED, which hides it from the
others, does it in that transaction, and deletes it: what a job writes and that it is
done are committed together. If the worker dies, the row is free again. A job that fails
is tried again later, and given up in the end.

NOTIFY only wakes those who have nothing to do. It carries nothing that could be lost:
who is woken looks at the table, and so does who is told of a gap.

Without a DSN it runs on a private server. Makes tables ``chopin_jobs`` and
``chopin_letters`` and drops them again.
"""

import asyncio
import contextlib
import sys

import chopin
from chopin.testing import TemporaryServer

WORKERS = 4
ATTEMPTS = 3
RETRY_S = 0.1  # then twice that
LOOK_S = 0.2  # what is to be tried again announces nothing
# Whether a job was done when the connection was lost says the table: look again.
PATIENT = chopin.Retry(attempts=20, max=1.0, idempotent=True)

SCHEMA = """
CREATE TABLE chopin_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    guest text NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT now(),
    error text
);
CREATE INDEX ON chopin_jobs (due) WHERE error IS NULL;
CREATE TABLE chopin_letters (guest text, worker text);
"""
DROP = "DROP TABLE IF EXISTS chopin_jobs, chopin_letters"
PUT = """
WITH job AS (INSERT INTO chopin_jobs (guest) VALUES ($1) RETURNING id)
SELECT id, pg_notify('chopin_jobs', '') FROM job
"""
TAKE = """
SELECT id, guest, attempts FROM chopin_jobs
WHERE error IS NULL AND due <= now() ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""
DONE = "DELETE FROM chopin_jobs WHERE id = $1"
AGAIN = """
UPDATE chopin_jobs SET attempts = $2, due = clock_timestamp() + $3 * interval '1 s'
WHERE id = $1
"""
GIVE_UP = "UPDATE chopin_jobs SET attempts = $2, error = $3 WHERE id = $1"
LEFT = "SELECT count(*) FROM chopin_jobs WHERE error IS NULL"


async def write_letter(conn: chopin.Connection, job: chopin.Record, name: str) -> None:
    """The work: some guests are hard to reach."""
    await conn.execute("INSERT INTO chopin_letters VALUES ($1, $2)", job["guest"], name)
    if job["guest"] == "Ludwig" or (job["guest"] == "Franz" and job["attempts"] == 0):
        raise ConnectionError(f"{job['guest']} is not at home")


async def do_one(pool: chopin.Pool, name: str) -> bool:
    """Do a job; whether there was one."""
    async with pool.transaction() as conn:
        job = await conn.fetchrow(TAKE)
        if job is None:
            return False
        attempts = job["attempts"] + 1
        try:
            async with conn.transaction():  # a savepoint: what fails leaves nothing
                await write_letter(conn, job, name)
        except ConnectionError as error:
            if attempts == ATTEMPTS:
                await conn.execute(GIVE_UP, job["id"], attempts, str(error))
            else:
                pause = RETRY_S * 2 ** (attempts - 1)
                await conn.execute(AGAIN, job["id"], attempts, pause)
        else:
            await conn.execute(DONE, job["id"])
        await conn.notify("chopin_jobs_ended")
    return True


async def work(pool: chopin.Pool, name: str) -> None:
    """Do jobs until this task is cancelled."""
    # one item is enough to know that there is something
    async with pool.listen("chopin_jobs", queue_size=1) as wake_ups:
        while True:
            while await PATIENT.call(do_one, pool, name):
                pass
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await anext(wake_ups)


async def main(dsn: str) -> None:
    # a worker needs a connection; all that listens shares another one
    async with chopin.create_pool(dsn, min_size=0, max_size=WORKERS + 1) as pool:
        await pool.execute(DROP)
        await pool.execute(SCHEMA)
        workers = [
            asyncio.create_task(work(pool, f"worker {number}"))
            for number in range(WORKERS)
        ]
        async with pool.listen("chopin_jobs_ended", queue_size=1) as ended:
            guests = ["Clara", "Franz", "George", "Ludwig", "Robert"] * 4
            await asyncio.gather(*(pool.fetch(PUT, guest) for guest in guests))
            print(f"{len(guests)} jobs for {WORKERS} workers")
            while await pool.fetchval(LEFT):
                await anext(ended)
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)

        written = "SELECT count(*), count(DISTINCT guest) FROM chopin_letters"
        letters, guests_reached = await pool.fetchrow(written) or (0, 0)
        print(f"{letters} letters to {guests_reached} guests, each written once")
        given_up = "SELECT error, attempts FROM chopin_jobs GROUP BY error, attempts"
        for error, attempts in await pool.fetch(given_up):
            print(f"given up after {attempts} attempts: {error}")
        await pool.execute(DROP)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(main(sys.argv[1]))
    else:
        with TemporaryServer() as server:
            asyncio.run(main(server.dsn))
