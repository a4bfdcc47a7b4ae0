"""The asyncio shell around the pure core: one queue, one writer."""
