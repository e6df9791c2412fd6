"""Transactions: python examples/transactions.py postgresql://localhost/app.

Blocks, savepoints, and serializable transactions of which one is run again because of
the other. Makes a table ``chopin_accounts`` and drops it in the end.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import chopin

ATTEMPTS = 5
RESERVE = 50  # what the two must have together

SCHEMA = """
CREATE TABLE chopin_accounts (
    owner text PRIMARY KEY,
    balance int NOT NULL CONSTRAINT balance_is_not_negative CHECK (balance >= 0)
);
INSERT INTO chopin_accounts VALUES ('George', 100), ('Frédéric', 20);
"""
ADD = "UPDATE chopin_accounts SET balance = balance + $2 WHERE owner = $1"


async def transfer(
    conn: chopin.Connection, payer: str, payee: str, amount: int
) -> None:
    """Move money: both updates or none. Inside of another block it is a savepoint."""
    async with conn.transaction():
        await conn.execute(ADD, payee, amount)
        await conn.execute(ADD, payer, -amount)


async def balances(conn: chopin.Connection) -> dict[str, int]:
    rows = await conn.fetch("SELECT owner, balance FROM chopin_accounts ORDER BY owner")
    return {row["owner"]: row["balance"] for row in rows}


async def transfers(conn: chopin.Connection) -> None:
    """A block that commits, one that is rolled back, and one with both inside."""
    await transfer(conn, "George", "Frédéric", 10)
    print("10 are moved:         ", await balances(conn))

    try:
        await transfer(conn, "George", "Frédéric", 500)
    except chopin.CheckViolationError as error:
        print("500 are not:          ", await balances(conn), error.constraint_name)

    async with conn.transaction():
        await transfer(conn, "George", "Frédéric", 10)
        try:
            await transfer(conn, "George", "Frédéric", 500)
        except chopin.CheckViolationError:
            pass  # back to the savepoint, the block goes on
    print("10 and 500: 10 are:   ", await balances(conn))


async def serializable(
    conn: chopin.Connection, work: Callable[[], Awaitable[None]]
) -> int:
    """Run `work` in a transaction until it commits; returns how often it was run."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            async with conn.transaction(isolation="serializable"):
                await work()
            return attempt
        except chopin.SerializationError:
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


async def withdrawals(first: chopin.Connection, second: chopin.Connection) -> None:
    """Both find enough on the accounts; only one may take it."""
    both_have_read = asyncio.Barrier(2)

    async def withdraw(conn: chopin.Connection, owner: str, amount: int) -> int:
        has_met = False

        async def work() -> None:
            nonlocal has_met
            total = sum((await balances(conn)).values())
            if not has_met:
                has_met = True
                await both_have_read.wait()
            if total - amount >= RESERVE:
                await conn.execute(ADD, owner, -amount)

        return await serializable(conn, work)

    attempts = await asyncio.gather(
        withdraw(first, "George", 40), withdraw(second, "Frédéric", 40)
    )
    total = sum((await balances(first)).values())
    print(f"one of two takes 40:   {total} are left, {sum(attempts)} attempts")


async def main(dsn: str) -> None:
    first, second = await chopin.connect(dsn), await chopin.connect(dsn)
    try:
        await first.execute(SCHEMA)
        try:
            await transfers(first)
            await withdrawals(first, second)
        finally:
            await first.execute("DROP TABLE chopin_accounts")
    finally:
        await first.close()
        await second.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
