"""Whole clusters for the demo, the bench and end-to-end tests: a scheduler, agents, jobs, on this host or in guests."""
