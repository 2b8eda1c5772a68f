"""Run by Python at its start, since `run.py` puts this folder on PYTHONPATH."""

from ptx.linking import emulate_linked_kernels

emulate_linked_kernels()
