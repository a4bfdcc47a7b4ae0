"""The NUMA lab: real multi-node kernels in QEMU guests, without KVM, for tests and for developers by hand.

A guest is described by one small file in `guests/`; `tests.lab.machine.boot` brings it up with the host's own files and
virtual environment inside, and `python -m tests.lab` does the same from a terminal. See README.md beside this file.
"""
