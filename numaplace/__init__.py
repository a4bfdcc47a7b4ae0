"""numaplace: memory that follows the CPUs. What users import; see README.md."""

__version__ = "0.1.0"
