"""Benchmarks of Chopin beside other drivers: ``python -m bench`` prints the table.

``make bench`` runs everything, and ``document`` makes a page with plots of the results
(``make page`` makes the committed one, and the tables of the README by ``readme``):
``standing`` says who is ahead, ``summary`` what the answer is, ``grouptables`` and
``prices`` are its tables, ``figures`` what is drawn, ``charts`` and ``svg`` how.
``shapes``, ``ladders`` and ``poolcurves`` are workloads with a size that grows,
``copying`` is COPY; ``proxy`` counts round trips, ``yardstick`` runs pgbench.

``candidates`` knows the drivers, ``workloads`` and ``rows`` what they are given to
do, ``limit`` what the server can do at most, ``measure`` the order and the clocks,
``report`` the tables, ``goals`` what is to be reached. ``server`` provides the
PostgreSQL server that all of them talk to. What begins with ``pool`` is the same for
pools: ``python -m bench pool``. What begins with ``type`` is the cost of single values:
``python -m bench types``.

Apart from these: ``gate`` counts instructions and fails when they have become more,
``service`` puts a web service on each driver under load, ``notify`` measures
notifications, ``profile`` and ``profilehot`` say where the time goes.
"""
