"""Adapters to this host: tasks, residency, watchers, movers; on numaplace.kernel."""
