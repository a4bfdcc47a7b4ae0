from numaplace.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AgentMessage(_message.Message):
    __slots__ = ("sequence", "hello", "snapshot", "task_appeared", "task_gone", "home_changed", "residency_measured", "move_accepted", "move_progress", "move_finished", "load")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TASK_APPEARED_FIELD_NUMBER: _ClassVar[int]
    TASK_GONE_FIELD_NUMBER: _ClassVar[int]
    HOME_CHANGED_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_MEASURED_FIELD_NUMBER: _ClassVar[int]
    MOVE_ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    MOVE_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MOVE_FINISHED_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    hello: Hello
    snapshot: Snapshot
    task_appeared: _types_pb2.Task
    task_gone: TaskGone
    home_changed: _types_pb2.HomeChange
    residency_measured: ResidencyMeasured
    move_accepted: MoveAccepted
    move_progress: _types_pb2.MoveProgress
    move_finished: _types_pb2.MoveOutcome
    load: _types_pb2.HostLoad
    def __init__(self, sequence: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., snapshot: _Optional[_Union[Snapshot, _Mapping]] = ..., task_appeared: _Optional[_Union[_types_pb2.Task, _Mapping]] = ..., task_gone: _Optional[_Union[TaskGone, _Mapping]] = ..., home_changed: _Optional[_Union[_types_pb2.HomeChange, _Mapping]] = ..., residency_measured: _Optional[_Union[ResidencyMeasured, _Mapping]] = ..., move_accepted: _Optional[_Union[MoveAccepted, _Mapping]] = ..., move_progress: _Optional[_Union[_types_pb2.MoveProgress, _Mapping]] = ..., move_finished: _Optional[_Union[_types_pb2.MoveOutcome, _Mapping]] = ..., load: _Optional[_Union[_types_pb2.HostLoad, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("host", "instance", "boot_id", "protocol", "agent_version")
    HOST_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    host: str
    instance: str
    boot_id: str
    protocol: int
    agent_version: str
    def __init__(self, host: _Optional[str] = ..., instance: _Optional[str] = ..., boot_id: _Optional[str] = ..., protocol: _Optional[int] = ..., agent_version: _Optional[str] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("topology", "abilities", "tasks", "load", "open_moves", "outcomes")
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    ABILITIES_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    OPEN_MOVES_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    topology: _types_pb2.Topology
    abilities: _types_pb2.Abilities
    tasks: _containers.RepeatedCompositeFieldContainer[_types_pb2.Task]
    load: _types_pb2.HostLoad
    open_moves: _containers.RepeatedCompositeFieldContainer[_types_pb2.MoveOrder]
    outcomes: _containers.RepeatedCompositeFieldContainer[_types_pb2.MoveOutcome]
    def __init__(self, topology: _Optional[_Union[_types_pb2.Topology, _Mapping]] = ..., abilities: _Optional[_Union[_types_pb2.Abilities, _Mapping]] = ..., tasks: _Optional[_Iterable[_Union[_types_pb2.Task, _Mapping]]] = ..., load: _Optional[_Union[_types_pb2.HostLoad, _Mapping]] = ..., open_moves: _Optional[_Iterable[_Union[_types_pb2.MoveOrder, _Mapping]]] = ..., outcomes: _Optional[_Iterable[_Union[_types_pb2.MoveOutcome, _Mapping]]] = ...) -> None: ...

class TaskGone(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...

class ResidencyMeasured(_message.Message):
    __slots__ = ("task", "residency", "stuck")
    TASK_FIELD_NUMBER: _ClassVar[int]
    RESIDENCY_FIELD_NUMBER: _ClassVar[int]
    STUCK_FIELD_NUMBER: _ClassVar[int]
    task: str
    residency: _types_pb2.Residency
    stuck: _containers.RepeatedCompositeFieldContainer[_types_pb2.Left]
    def __init__(self, task: _Optional[str] = ..., residency: _Optional[_Union[_types_pb2.Residency, _Mapping]] = ..., stuck: _Optional[_Iterable[_Union[_types_pb2.Left, _Mapping]]] = ...) -> None: ...

class MoveAccepted(_message.Message):
    __slots__ = ("move",)
    MOVE_FIELD_NUMBER: _ClassVar[int]
    move: str
    def __init__(self, move: _Optional[str] = ...) -> None: ...

class SchedulerMessage(_message.Message):
    __slots__ = ("welcome", "resync", "start_move", "cancel_move", "set_policies", "acknowledge_outcome", "measure")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    RESYNC_FIELD_NUMBER: _ClassVar[int]
    START_MOVE_FIELD_NUMBER: _ClassVar[int]
    CANCEL_MOVE_FIELD_NUMBER: _ClassVar[int]
    SET_POLICIES_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    resync: Resync
    start_move: _types_pb2.MoveOrder
    cancel_move: CancelMove
    set_policies: SetPolicies
    acknowledge_outcome: AcknowledgeOutcome
    measure: Measure
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., resync: _Optional[_Union[Resync, _Mapping]] = ..., start_move: _Optional[_Union[_types_pb2.MoveOrder, _Mapping]] = ..., cancel_move: _Optional[_Union[CancelMove, _Mapping]] = ..., set_policies: _Optional[_Union[SetPolicies, _Mapping]] = ..., acknowledge_outcome: _Optional[_Union[AcknowledgeOutcome, _Mapping]] = ..., measure: _Optional[_Union[Measure, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("protocol", "policies")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    policies: SetPolicies
    def __init__(self, protocol: _Optional[int] = ..., policies: _Optional[_Union[SetPolicies, _Mapping]] = ...) -> None: ...

class Resync(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class CancelMove(_message.Message):
    __slots__ = ("move", "reason")
    MOVE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    move: str
    reason: str
    def __init__(self, move: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SetPolicies(_message.Message):
    __slots__ = ("default_policy", "by_job")
    class ByJobEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _types_pb2.Policy
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_types_pb2.Policy, _Mapping]] = ...) -> None: ...
    DEFAULT_POLICY_FIELD_NUMBER: _ClassVar[int]
    BY_JOB_FIELD_NUMBER: _ClassVar[int]
    default_policy: _types_pb2.Policy
    by_job: _containers.MessageMap[str, _types_pb2.Policy]
    def __init__(self, default_policy: _Optional[_Union[_types_pb2.Policy, _Mapping]] = ..., by_job: _Optional[_Mapping[str, _types_pb2.Policy]] = ...) -> None: ...

class AcknowledgeOutcome(_message.Message):
    __slots__ = ("move",)
    MOVE_FIELD_NUMBER: _ClassVar[int]
    move: str
    def __init__(self, move: _Optional[str] = ...) -> None: ...

class Measure(_message.Message):
    __slots__ = ("task",)
    TASK_FIELD_NUMBER: _ClassVar[int]
    task: str
    def __init__(self, task: _Optional[str] = ...) -> None: ...
