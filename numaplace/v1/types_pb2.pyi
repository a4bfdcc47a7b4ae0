from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PageSize(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAGE_SIZE_UNSPECIFIED: _ClassVar[PageSize]
    PAGE_SIZE_BASE: _ClassVar[PageSize]
    PAGE_SIZE_THP: _ClassVar[PageSize]
    PAGE_SIZE_HUGETLB: _ClassVar[PageSize]

class PageKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAGE_KIND_UNSPECIFIED: _ClassVar[PageKind]
    PAGE_KIND_ANON: _ClassVar[PageKind]
    PAGE_KIND_FILE: _ClassVar[PageKind]
    PAGE_KIND_SHARED: _ClassVar[PageKind]

class FollowMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FOLLOW_MODE_UNSPECIFIED: _ClassVar[FollowMode]
    FOLLOW_MODE_AT_ONCE: _ClassVar[FollowMode]
    FOLLOW_MODE_LATER: _ClassVar[FollowMode]
    FOLLOW_MODE_NEVER: _ClassVar[FollowMode]
    FOLLOW_MODE_OBSERVE: _ClassVar[FollowMode]

class MemoryPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMORY_POLICY_UNSPECIFIED: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_DEFAULT: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_LOCAL: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_PREFERRED: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_PREFERRED_MANY: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_BIND: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_INTERLEAVE: _ClassVar[MemoryPolicy]
    MEMORY_POLICY_WEIGHTED_INTERLEAVE: _ClassVar[MemoryPolicy]

class ChangeSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_SOURCE_UNSPECIFIED: _ClassVar[ChangeSource]
    CHANGE_SOURCE_SWEEP: _ClassVar[ChangeSource]
    CHANGE_SOURCE_FANOTIFY: _ClassVar[ChangeSource]
    CHANGE_SOURCE_INOTIFY: _ClassVar[ChangeSource]
    CHANGE_SOURCE_TRACEFS: _ClassVar[ChangeSource]
    CHANGE_SOURCE_START: _ClassVar[ChangeSource]

class MoveState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MOVE_STATE_UNSPECIFIED: _ClassVar[MoveState]
    MOVE_STATE_ACCEPTED: _ClassVar[MoveState]
    MOVE_STATE_RUNNING: _ClassVar[MoveState]
    MOVE_STATE_CANCELLING: _ClassVar[MoveState]
    MOVE_STATE_COMPLETED: _ClassVar[MoveState]
    MOVE_STATE_PARTIAL: _ClassVar[MoveState]
    MOVE_STATE_CANCELLED: _ClassVar[MoveState]
    MOVE_STATE_SUPERSEDED: _ClassVar[MoveState]
    MOVE_STATE_REFUSED: _ClassVar[MoveState]
    MOVE_STATE_FAILED: _ClassVar[MoveState]
    MOVE_STATE_ON_ITS_WAY: _ClassVar[MoveState]

class Strategy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STRATEGY_UNSPECIFIED: _ClassVar[Strategy]
    STRATEGY_MIGRATE_PAGES: _ClassVar[Strategy]
    STRATEGY_MOVE_PAGES: _ClassVar[Strategy]
    STRATEGY_CPUSET_HANDOVER: _ClassVar[Strategy]
    STRATEGY_VERIFY_AND_FINISH: _ClassVar[Strategy]

class LeftReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEFT_REASON_UNSPECIFIED: _ClassVar[LeftReason]
    LEFT_REASON_PINNED: _ClassVar[LeftReason]
    LEFT_REASON_SHARED: _ClassVar[LeftReason]
    LEFT_REASON_TARGET_FULL: _ClassVar[LeftReason]
    LEFT_REASON_OUTSIDE_CPUSET: _ClassVar[LeftReason]
    LEFT_REASON_VANISHED: _ClassVar[LeftReason]
    LEFT_REASON_UNMOVABLE_MAPPING: _ClassVar[LeftReason]
    LEFT_REASON_ZERO_PAGE: _ClassVar[LeftReason]
    LEFT_REASON_BUSY: _ClassVar[LeftReason]
    LEFT_REASON_HUGETLB_POOL: _ClassVar[LeftReason]
    LEFT_REASON_THP_WOULD_SPLIT: _ClassVar[LeftReason]
    LEFT_REASON_KEPT_BY_POLICY: _ClassVar[LeftReason]
    LEFT_REASON_DENIED: _ClassVar[LeftReason]
    LEFT_REASON_NOT_REACHED: _ClassVar[LeftReason]
    LEFT_REASON_TOO_MANY_PROCESSES: _ClassVar[LeftReason]
PAGE_SIZE_UNSPECIFIED: PageSize
PAGE_SIZE_BASE: PageSize
PAGE_SIZE_THP: PageSize
PAGE_SIZE_HUGETLB: PageSize
PAGE_KIND_UNSPECIFIED: PageKind
PAGE_KIND_ANON: PageKind
PAGE_KIND_FILE: PageKind
PAGE_KIND_SHARED: PageKind
FOLLOW_MODE_UNSPECIFIED: FollowMode
FOLLOW_MODE_AT_ONCE: FollowMode
FOLLOW_MODE_LATER: FollowMode
FOLLOW_MODE_NEVER: FollowMode
FOLLOW_MODE_OBSERVE: FollowMode
MEMORY_POLICY_UNSPECIFIED: MemoryPolicy
MEMORY_POLICY_DEFAULT: MemoryPolicy
MEMORY_POLICY_LOCAL: MemoryPolicy
MEMORY_POLICY_PREFERRED: MemoryPolicy
MEMORY_POLICY_PREFERRED_MANY: MemoryPolicy
MEMORY_POLICY_BIND: MemoryPolicy
MEMORY_POLICY_INTERLEAVE: MemoryPolicy
MEMORY_POLICY_WEIGHTED_INTERLEAVE: MemoryPolicy
CHANGE_SOURCE_UNSPECIFIED: ChangeSource
CHANGE_SOURCE_SWEEP: ChangeSource
CHANGE_SOURCE_FANOTIFY: ChangeSource
CHANGE_SOURCE_INOTIFY: ChangeSource
CHANGE_SOURCE_TRACEFS: ChangeSource
CHANGE_SOURCE_START: ChangeSource
MOVE_STATE_UNSPECIFIED: MoveState
MOVE_STATE_ACCEPTED: MoveState
MOVE_STATE_RUNNING: MoveState
MOVE_STATE_CANCELLING: MoveState
MOVE_STATE_COMPLETED: MoveState
MOVE_STATE_PARTIAL: MoveState
MOVE_STATE_CANCELLED: MoveState
MOVE_STATE_SUPERSEDED: MoveState
MOVE_STATE_REFUSED: MoveState
MOVE_STATE_FAILED: MoveState
MOVE_STATE_ON_ITS_WAY: MoveState
STRATEGY_UNSPECIFIED: Strategy
STRATEGY_MIGRATE_PAGES: Strategy
STRATEGY_MOVE_PAGES: Strategy
STRATEGY_CPUSET_HANDOVER: Strategy
STRATEGY_VERIFY_AND_FINISH: Strategy
LEFT_REASON_UNSPECIFIED: LeftReason
LEFT_REASON_PINNED: LeftReason
LEFT_REASON_SHARED: LeftReason
LEFT_REASON_TARGET_FULL: LeftReason
LEFT_REASON_OUTSIDE_CPUSET: LeftReason
LEFT_REASON_VANISHED: LeftReason
LEFT_REASON_UNMOVABLE_MAPPING: LeftReason
LEFT_REASON_ZERO_PAGE: LeftReason
LEFT_REASON_BUSY: LeftReason
LEFT_REASON_HUGETLB_POOL: LeftReason
LEFT_REASON_THP_WOULD_SPLIT: LeftReason
LEFT_REASON_KEPT_BY_POLICY: LeftReason
LEFT_REASON_DENIED: LeftReason
LEFT_REASON_NOT_REACHED: LeftReason
LEFT_REASON_TOO_MANY_PROCESSES: LeftReason

class Node(_message.Message):
    __slots__ = ("id", "cpus", "memory_bytes", "distances")
    class DistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    id: int
    cpus: str
    memory_bytes: int
    distances: _containers.ScalarMap[int, int]
    def __init__(self, id: _Optional[int] = ..., cpus: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., distances: _Optional[_Mapping[int, int]] = ...) -> None: ...

class Topology(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class ResidencyCell(_message.Message):
    __slots__ = ("node", "size", "kind", "bytes")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    node: int
    size: PageSize
    kind: PageKind
    bytes: int
    def __init__(self, node: _Optional[int] = ..., size: _Optional[_Union[PageSize, str]] = ..., kind: _Optional[_Union[PageKind, str]] = ..., bytes: _Optional[int] = ...) -> None: ...

class Residency(_message.Message):
    __slots__ = ("cells",)
    CELLS_FIELD_NUMBER: _ClassVar[int]
    cells: _containers.RepeatedCompositeFieldContainer[ResidencyCell]
    def __init__(self, cells: _Optional[_Iterable[_Union[ResidencyCell, _Mapping]]] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("pace_bytes_per_s", "stall_ms_max", "headroom_bytes")
    PACE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    STALL_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    HEADROOM_BYTES_FIELD_NUMBER: _ClassVar[int]
    pace_bytes_per_s: int
    stall_ms_max: float
    headroom_bytes: int
    def __init__(self, pace_bytes_per_s: _Optional[int] = ..., stall_ms_max: _Optional[float] = ..., headroom_bytes: _Optional[int] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("mode", "kinds", "budget", "settle_s", "later_s", "min_remote_bytes", "min_locality_gain", "min_age_s", "keep_interleave")
    MODE_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    SETTLE_S_FIELD_NUMBER: _ClassVar[int]
    LATER_S_FIELD_NUMBER: _ClassVar[int]
    MIN_REMOTE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_LOCALITY_GAIN_FIELD_NUMBER: _ClassVar[int]
    MIN_AGE_S_FIELD_NUMBER: _ClassVar[int]
    KEEP_INTERLEAVE_FIELD_NUMBER: _ClassVar[int]
    mode: FollowMode
    kinds: _containers.RepeatedScalarFieldContainer[PageKind]
    budget: Budget
    settle_s: float
    later_s: float
    min_remote_bytes: int
    min_locality_gain: float
    min_age_s: float
    keep_interleave: bool
    def __init__(self, mode: _Optional[_Union[FollowMode, str]] = ..., kinds: _Optional[_Iterable[_Union[PageKind, str]]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., settle_s: _Optional[float] = ..., later_s: _Optional[float] = ..., min_remote_bytes: _Optional[int] = ..., min_locality_gain: _Optional[float] = ..., min_age_s: _Optional[float] = ..., keep_interleave: bool = ...) -> None: ...

class Home(_message.Message):
    __slots__ = ("nodes", "version")
    NODES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    nodes: str
    version: int
    def __init__(self, nodes: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "job", "command", "cpus", "mems", "home", "previous_home", "processes", "threads", "age_s", "memory_policy", "policy_nodes", "cgroup", "uid", "residency")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMS_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HOME_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    MEMORY_POLICY_FIELD_NUMBER: _ClassVar[int]
    POLICY_NODES_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    id: str
    job: str
    command: str
    cpus: str
    mems: str
    home: Home
    previous_home: str
    processes: int
    threads: int
    age_s: float
    memory_policy: MemoryPolicy
    policy_nodes: str
    cgroup: str
    uid: int
    residency: Residency
    def __init__(self, id: _Optional[str] = ..., job: _Optional[str] = ..., command: _Optional[str] = ..., cpus: _Optional[str] = ..., mems: _Optional[str] = ..., home: _Optional[_Union[Home, _Mapping]] = ..., previous_home: _Optional[str] = ..., processes: _Optional[int] = ..., threads: _Optional[int] = ..., age_s: _Optional[float] = ..., memory_policy: _Optional[_Union[MemoryPolicy, str]] = ..., policy_nodes: _Optional[str] = ..., cgroup: _Optional[str] = ..., uid: _Optional[int] = ..., residency: _Optional[_Union[Residency, _Mapping]] = ...) -> None: ...

class Actor(_message.Message):
    __slots__ = ("pid", "command")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    pid: int
    command: str
    def __init__(self, pid: _Optional[int] = ..., command: _Optional[str] = ...) -> None: ...

class HomeChange(_message.Message):
    __slots__ = ("task", "cpus", "mems", "home", "previous_home", "source", "actor", "changes")
    TASK_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMS_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HOME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    task: str
    cpus: str
    mems: str
    home: Home
    previous_home: str
    source: ChangeSource
    actor: Actor
    changes: int
    def __init__(self, task: _Optional[str] = ..., cpus: _Optional[str] = ..., mems: _Optional[str] = ..., home: _Optional[_Union[Home, _Mapping]] = ..., previous_home: _Optional[str] = ..., source: _Optional[_Union[ChangeSource, str]] = ..., actor: _Optional[_Union[Actor, _Mapping]] = ..., changes: _Optional[int] = ...) -> None: ...

class MoveOrder(_message.Message):
    __slots__ = ("id", "task", "home", "previous_home", "home_version", "policy")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    HOME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HOME_FIELD_NUMBER: _ClassVar[int]
    HOME_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    id: str
    task: str
    home: str
    previous_home: str
    home_version: int
    policy: Policy
    def __init__(self, id: _Optional[str] = ..., task: _Optional[str] = ..., home: _Optional[str] = ..., previous_home: _Optional[str] = ..., home_version: _Optional[int] = ..., policy: _Optional[_Union[Policy, _Mapping]] = ...) -> None: ...

class Left(_message.Message):
    __slots__ = ("reason", "bytes")
    REASON_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    reason: LeftReason
    bytes: int
    def __init__(self, reason: _Optional[_Union[LeftReason, str]] = ..., bytes: _Optional[int] = ...) -> None: ...

class MigrationCounters(_message.Message):
    __slots__ = ("pgmigrate_success", "pgmigrate_fail", "thp_migration_success", "thp_migration_fail", "thp_migration_split")
    PGMIGRATE_SUCCESS_FIELD_NUMBER: _ClassVar[int]
    PGMIGRATE_FAIL_FIELD_NUMBER: _ClassVar[int]
    THP_MIGRATION_SUCCESS_FIELD_NUMBER: _ClassVar[int]
    THP_MIGRATION_FAIL_FIELD_NUMBER: _ClassVar[int]
    THP_MIGRATION_SPLIT_FIELD_NUMBER: _ClassVar[int]
    pgmigrate_success: int
    pgmigrate_fail: int
    thp_migration_success: int
    thp_migration_fail: int
    thp_migration_split: int
    def __init__(self, pgmigrate_success: _Optional[int] = ..., pgmigrate_fail: _Optional[int] = ..., thp_migration_success: _Optional[int] = ..., thp_migration_fail: _Optional[int] = ..., thp_migration_split: _Optional[int] = ...) -> None: ...

class CounterAccount(_message.Message):
    __slots__ = ("host", "ours")
    HOST_FIELD_NUMBER: _ClassVar[int]
    OURS_FIELD_NUMBER: _ClassVar[int]
    host: MigrationCounters
    ours: MigrationCounters
    def __init__(self, host: _Optional[_Union[MigrationCounters, _Mapping]] = ..., ours: _Optional[_Union[MigrationCounters, _Mapping]] = ...) -> None: ...

class MoveProgress(_message.Message):
    __slots__ = ("move", "moved_bytes", "todo_bytes", "pace_bytes_per_s", "residency", "left")
    MOVE_FIELD_NUMBER: _ClassVar[int]
    MOVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    TODO_BYTES_FIELD_NUMBER: _ClassVar[int]
    PACE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    move: str
    moved_bytes: int
    todo_bytes: int
    pace_bytes_per_s: float
    residency: Residency
    left: _containers.RepeatedCompositeFieldContainer[Left]
    def __init__(self, move: _Optional[str] = ..., moved_bytes: _Optional[int] = ..., todo_bytes: _Optional[int] = ..., pace_bytes_per_s: _Optional[float] = ..., residency: _Optional[_Union[Residency, _Mapping]] = ..., left: _Optional[_Iterable[_Union[Left, _Mapping]]] = ...) -> None: ...

class MoveOutcome(_message.Message):
    __slots__ = ("move", "task", "state", "words", "strategy", "strategy_reason", "moved_bytes", "left", "seconds", "first_page_s", "call_ms_max", "stall_ms_max", "calls", "counters", "residency", "new_pages")
    MOVE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_REASON_FIELD_NUMBER: _ClassVar[int]
    MOVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FIRST_PAGE_S_FIELD_NUMBER: _ClassVar[int]
    CALL_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    STALL_MS_MAX_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    NEW_PAGES_FIELD_NUMBER: _ClassVar[int]
    move: str
    task: str
    state: MoveState
    words: str
    strategy: Strategy
    strategy_reason: str
    moved_bytes: int
    left: _containers.RepeatedCompositeFieldContainer[Left]
    seconds: float
    first_page_s: float
    call_ms_max: float
    stall_ms_max: float
    calls: int
    counters: CounterAccount
    residency: Residency
    new_pages: str
    def __init__(self, move: _Optional[str] = ..., task: _Optional[str] = ..., state: _Optional[_Union[MoveState, str]] = ..., words: _Optional[str] = ..., strategy: _Optional[_Union[Strategy, str]] = ..., strategy_reason: _Optional[str] = ..., moved_bytes: _Optional[int] = ..., left: _Optional[_Iterable[_Union[Left, _Mapping]]] = ..., seconds: _Optional[float] = ..., first_page_s: _Optional[float] = ..., call_ms_max: _Optional[float] = ..., stall_ms_max: _Optional[float] = ..., calls: _Optional[int] = ..., counters: _Optional[_Union[CounterAccount, _Mapping]] = ..., residency: _Optional[_Union[Residency, _Mapping]] = ..., new_pages: _Optional[str] = ...) -> None: ...

class HostLoad(_message.Message):
    __slots__ = ("free_bytes", "others_pages_per_s")
    class FreeBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: int
        def __init__(self, key: _Optional[int] = ..., value: _Optional[int] = ...) -> None: ...
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OTHERS_PAGES_PER_S_FIELD_NUMBER: _ClassVar[int]
    free_bytes: _containers.ScalarMap[int, int]
    others_pages_per_s: float
    def __init__(self, free_bytes: _Optional[_Mapping[int, int]] = ..., others_pages_per_s: _Optional[float] = ...) -> None: ...

class Abilities(_message.Message):
    __slots__ = ("watchers", "can_move", "sees_pagemap", "migrate_holds_lock", "kernel", "remarks")
    WATCHERS_FIELD_NUMBER: _ClassVar[int]
    CAN_MOVE_FIELD_NUMBER: _ClassVar[int]
    SEES_PAGEMAP_FIELD_NUMBER: _ClassVar[int]
    MIGRATE_HOLDS_LOCK_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    REMARKS_FIELD_NUMBER: _ClassVar[int]
    watchers: _containers.RepeatedScalarFieldContainer[ChangeSource]
    can_move: bool
    sees_pagemap: bool
    migrate_holds_lock: bool
    kernel: str
    remarks: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, watchers: _Optional[_Iterable[_Union[ChangeSource, str]]] = ..., can_move: bool = ..., sees_pagemap: bool = ..., migrate_holds_lock: bool = ..., kernel: _Optional[str] = ..., remarks: _Optional[_Iterable[str]] = ...) -> None: ...
