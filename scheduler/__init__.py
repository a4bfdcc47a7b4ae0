"""The central service: watches homes and pages on all hosts and decides what to move and when."""
