"""The asyncio shell around the pure state: one queue, one writer."""
