"""The simulation: scheduler and agents as the pure machines they are, in one process, on one virtual clock.

Everything random comes from one seed, so a seed is a run: the network (delays, cuts, half-open connections, and in
hostile runs loss, reordering and repetition), crashes between any two instructions, reboots, and hosts whose tasks
are re-pinned, grow, die and come back under the same pid. `ledger` says what must never happen, `goal` what must have
happened once the faults stop. By hand: `python -m tests.simulation --seed N --trace`.
"""
