from numaplace.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AgentStatus(_message.Message):
    __slots__ = ("host", "version", "topology", "abilities", "load", "connected", "scheduler", "tasks", "threads", "moves_open", "outcomes_unacknowledged")
    HOST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    ABILITIES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    MOVES_OPEN_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    host: str
    version: str
    topology: _types_pb2.Topology
    abilities: _types_pb2.Abilities
    load: _types_pb2.HostLoad
    connected: bool
    scheduler: str
    tasks: int
    threads: int
    moves_open: int
    outcomes_unacknowledged: int
    def __init__(self, host: _Optional[str] = ..., version: _Optional[str] = ..., topology: _Optional[_Union[_types_pb2.Topology, _Mapping]] = ..., abilities: _Optional[_Union[_types_pb2.Abilities, _Mapping]] = ..., load: _Optional[_Union[_types_pb2.HostLoad, _Mapping]] = ..., connected: bool = ..., scheduler: _Optional[str] = ..., tasks: _Optional[int] = ..., threads: _Optional[int] = ..., moves_open: _Optional[int] = ..., outcomes_unacknowledged: _Optional[int] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[_types_pb2.Task]
    def __init__(self, tasks: _Optional[_Iterable[_Union[_types_pb2.Task, _Mapping]]] = ...) -> None: ...

class ShowTaskRequest(_message.Message):
    __slots__ = ("task", "pid", "cgroup", "job")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    task: str
    pid: int
    cgroup: str
    job: str
    def __init__(self, task: _Optional[str] = ..., pid: _Optional[int] = ..., cgroup: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class ShowTaskResponse(_message.Message):
    __slots__ = ("task", "locality", "stuck")
    TASK_FIELD_NUMBER: _ClassVar[int]
    LOCALITY_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    task: _types_pb2.Task
    locality: float
    stuck: _containers.RepeatedCompositeFieldContainer[_types_pb2.Left]
    def __init__(self, task: _Optional[_Union[_types_pb2.Task, _Mapping]] = ..., locality: _Optional[float] = ..., stuck: _Optional[_Iterable[_Union[_types_pb2.Left, _Mapping]]] = ...) -> None: ...

class AdoptRequest(_message.Message):
    __slots__ = ("job", "pid", "cgroup")
    JOB_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    job: str
    pid: int
    cgroup: str
    def __init__(self, job: _Optional[str] = ..., pid: _Optional[int] = ..., cgroup: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("released",)
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    released: int
    def __init__(self, released: _Optional[int] = ...) -> None: ...

class WatchLocalMovesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LocalMoveEvent(_message.Message):
    __slots__ = ("accepted", "progress", "finished", "changed")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    accepted: _types_pb2.MoveOrder
    progress: _types_pb2.MoveProgress
    finished: _types_pb2.MoveOutcome
    changed: _types_pb2.HomeChange
    def __init__(self, accepted: _Optional[_Union[_types_pb2.MoveOrder, _Mapping]] = ..., progress: _Optional[_Union[_types_pb2.MoveProgress, _Mapping]] = ..., finished: _Optional[_Union[_types_pb2.MoveOutcome, _Mapping]] = ..., changed: _Optional[_Union[_types_pb2.HomeChange, _Mapping]] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("sources", "targets")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    sources: str
    targets: str
    def __init__(self, sources: _Optional[str] = ..., targets: _Optional[str] = ...) -> None: ...

class PickedPages(_message.Message):
    __slots__ = ("addresses", "nodes", "shared")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedScalarFieldContainer[int]
    nodes: _containers.RepeatedScalarFieldContainer[int]
    shared: bool
    def __init__(self, addresses: _Optional[_Iterable[int]] = ..., nodes: _Optional[_Iterable[int]] = ..., shared: bool = ...) -> None: ...

class HandMoveRequest(_message.Message):
    __slots__ = ("transfer", "pages", "policy", "pid", "cgroup", "job")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    PAGES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    transfer: Transfer
    pages: PickedPages
    policy: _types_pb2.Policy
    pid: int
    cgroup: str
    job: str
    def __init__(self, transfer: _Optional[_Union[Transfer, _Mapping]] = ..., pages: _Optional[_Union[PickedPages, _Mapping]] = ..., policy: _Optional[_Union[_types_pb2.Policy, _Mapping]] = ..., pid: _Optional[int] = ..., cgroup: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("move_bytes", "seconds", "stall_ms", "left", "strategy", "strategy_reason")
    MOVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    STALL_MS_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_REASON_FIELD_NUMBER: _ClassVar[int]
    move_bytes: int
    seconds: float
    stall_ms: float
    left: _containers.RepeatedCompositeFieldContainer[_types_pb2.Left]
    strategy: _types_pb2.Strategy
    strategy_reason: str
    def __init__(self, move_bytes: _Optional[int] = ..., seconds: _Optional[float] = ..., stall_ms: _Optional[float] = ..., left: _Optional[_Iterable[_Union[_types_pb2.Left, _Mapping]]] = ..., strategy: _Optional[_Union[_types_pb2.Strategy, str]] = ..., strategy_reason: _Optional[str] = ...) -> None: ...

class CancelLocalMoveRequest(_message.Message):
    __slots__ = ("move",)
    MOVE_FIELD_NUMBER: _ClassVar[int]
    move: str
    def __init__(self, move: _Optional[str] = ...) -> None: ...

class CancelLocalMoveResponse(_message.Message):
    __slots__ = ("cancelled",)
    CANCELLED_FIELD_NUMBER: _ClassVar[int]
    cancelled: bool
    def __init__(self, cancelled: bool = ...) -> None: ...

class ListLocalMovesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLocalMovesResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[_types_pb2.MoveOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[_types_pb2.MoveOutcome, _Mapping]]] = ...) -> None: ...
