"""Benchmarks of Chopin beside other drivers: ``python -m bench`` prints the table.

``candidates`` knows the drivers, ``workloads`` and ``rows`` what they are given to
do, ``limit`` what the server can do at most, ``measure`` the order and the clocks,
``report`` the tables, ``goals`` what is to be reached. ``server`` provides the
PostgreSQL server that all of them talk to. What begins with ``pool`` is the same for
pools: ``python -m bench pool``. What begins with ``type`` is the cost of single values:
``python -m bench types``.

Apart from these: ``gate`` counts instructions and fails when they have become more,
``service`` puts a web service on each driver under load, ``profile`` and
``profilehot`` say where the time goes.
"""
