"""Pure: a drift becomes a move or a reason not to."""
