"""The worker's scoring step under other stream processors, as their documentation has one write it.

Each is a program of its own: `python -m bench.hosts.NAME SERVERS PREFIX DIRECTORY`. None of them keeps its state: they
have less to do than the worker.
"""
