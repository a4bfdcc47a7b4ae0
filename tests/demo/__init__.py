"""``make demo``: a job is re-pinned three ways, and its pages follow, live in the terminal."""
