"""Adapters: where orders, outcomes and policies survive a crash."""
