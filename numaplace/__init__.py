"""numaplace: memory that follows the CPUs. What users import; see README.md."""
