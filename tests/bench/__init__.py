"""``make bench``: figures against rivals, all compared within one run; see ``python -m tests.bench --help``."""
