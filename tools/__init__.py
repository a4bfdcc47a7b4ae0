"""Programs for those who work on numaplace; nothing of it is installed."""
