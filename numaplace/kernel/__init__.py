"""The kernel boundary: system calls by architecture, errno in one place, and strict readers of kernel text.

Standard library only. Readers take a root path, so that a captured host is a test's fixture; parsers take text and
raise `errors.KernelFormatError` on anything undocumented; calls raise the classes of `errors`.

- `arch`: `native_numbers`, `numbers_of`, `UnsupportedArchitecture`
- `errors`: `KernelCallError` and its `ProcessGone`, `Denied`, `OutsideCpuset`, `TargetFull`, `Unsupported`;
  `KernelFormatError`
- `policy`: `PolicyMode`, `ModeFlag`, `MoveFlag`
- `syscalls`: `migrate_pages`, `move_pages`, `pidfd_open`, `forbid_event_loop`
- `mempolicy`: `get_mempolicy`, `policy_at`, `node_of`, `mems_allowed`, `set_mempolicy`, `mbind`,
  `set_mempolicy_home_node`
- `files`: `HOST`, and how files are read and written
- `procfs`: `ProcessId`, `read_identity`, `read_stat`, `list_pids`, `list_tids`, `read_schedstat`
- `status`: `read_status`, `read_privileges`, `read_command`, `read_command_line`, `read_cgroup_paths`
- `numa_maps`, `maps`: `read_numa_maps`, `read_maps`
- `pagemap`: the bits, `open_pagemap`, `read_entries`, `read_entries_into`; `pagemap_scan`: `scan`, `PageCategory`
- `zones`: `read_zones`, `headroom_pages`; `frames`: `read_frame_ranges` (PFN to node)
- `sysfs`: `read_node_sets`, `read_node_cpus`, `read_distances`, `read_node_memory`, `read_huge_pools`,
  `read_online_cpus`, `read_thp`, `read_khugepaged`, `read_demotion`, `read_sysctl`; `swaps`: `read_swaps`
- `cgroups`: `read_hierarchies`, `cgroup_of`, `children`, members; `cpusets`: reading and writing cpuset files
- `psi`: `read_pressure`; `vmstat`: `read_vmstat`, `migration_counters`, `numa_counters`
- `trials`: what this kernel and our rights allow, tried on a page of our own
- `fanotify`, `inotify`, `tracefs` with `trace_events`: what wakes the sweep
"""
