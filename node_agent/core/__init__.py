"""Pure: detection, moves, pace and accounting; time arrives in events."""
