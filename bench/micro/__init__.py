"""Micro-benchmarks of single parts, without server and socket: ``make micro``.

They say where a change has its effect. What it is worth, the workloads say: ``make
bench``. ``make micro MICRO_ARGS='-k numeric'`` runs some of them.
"""
