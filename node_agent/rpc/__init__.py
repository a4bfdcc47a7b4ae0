"""Adapters: the session to the scheduler and the local service on a Unix socket."""
