"""The example of the README: python examples/quickstart.py postgresql://localhost/app."""

import asyncio
import sys

import chopin


async def main(dsn: str) -> None:
    async with chopin.create_pool(dsn) as pool:
        print(await pool.fetchval("SELECT upper($1)", "works"))
        async with pool.transaction() as conn:
            await conn.execute("CREATE TEMP TABLE works (title text, opus int)")
            works = [("Nocturnes", 9), ("Études", 10), ("Ballade", 23)]
            await conn.executemany("INSERT INTO works VALUES ($1, $2)", works)
            for row in await conn.fetch("SELECT * FROM works WHERE opus > $1", 9):
                print(row["opus"], row["title"])


asyncio.run(main(sys.argv[1]))
