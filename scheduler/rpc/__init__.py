"""Adapters: the gRPC services for agents and for people."""
