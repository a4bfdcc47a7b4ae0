from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from numaplace.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Host(_message.Message):
    __slots__ = ("name", "state", "topology", "abilities", "load", "agent_version", "last_seen_time", "tasks", "moves_running", "move_bytes_per_s")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Host.State]
        CONNECTED: _ClassVar[Host.State]
        UNREACHABLE: _ClassVar[Host.State]
    STATE_UNSPECIFIED: Host.State
    CONNECTED: Host.State
    UNREACHABLE: Host.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    ABILITIES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    MOVES_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MOVE_BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: Host.State
    topology: _types_pb2.Topology
    abilities: _types_pb2.Abilities
    load: _types_pb2.HostLoad
    agent_version: str
    last_seen_time: _timestamp_pb2.Timestamp
    tasks: int
    moves_running: int
    move_bytes_per_s: float
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[Host.State, str]] = ..., topology: _Optional[_Union[_types_pb2.Topology, _Mapping]] = ..., abilities: _Optional[_Union[_types_pb2.Abilities, _Mapping]] = ..., load: _Optional[_Union[_types_pb2.HostLoad, _Mapping]] = ..., agent_version: _Optional[str] = ..., last_seen_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., tasks: _Optional[int] = ..., moves_running: _Optional[int] = ..., move_bytes_per_s: _Optional[float] = ...) -> None: ...

class TaskOnHost(_message.Message):
    __slots__ = ("host", "task", "locality", "remote_bytes", "last_change", "last_change_time", "decision")
    HOST_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    LOCALITY_FIELD_NUMBER: _ClassVar[int]
    REMOTE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_FIELD_NUMBER: _ClassVar[int]
    LAST_CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    host: str
    task: _types_pb2.Task
    locality: float
    remote_bytes: int
    last_change: _types_pb2.HomeChange
    last_change_time: _timestamp_pb2.Timestamp
    decision: Decision
    def __init__(self, host: _Optional[str] = ..., task: _Optional[_Union[_types_pb2.Task, _Mapping]] = ..., locality: _Optional[float] = ..., remote_bytes: _Optional[int] = ..., last_change: _Optional[_Union[_types_pb2.HomeChange, _Mapping]] = ..., last_change_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("action", "reason", "words", "would_move_bytes", "predicted_seconds", "not_before_time")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[Decision.Action]
        MOVE: _ClassVar[Decision.Action]
        WAIT: _ClassVar[Decision.Action]
        LEAVE: _ClassVar[Decision.Action]
    ACTION_UNSPECIFIED: Decision.Action
    MOVE: Decision.Action
    WAIT: Decision.Action
    LEAVE: Decision.Action
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    WOULD_MOVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    action: Decision.Action
    reason: str
    words: str
    would_move_bytes: int
    predicted_seconds: float
    not_before_time: _timestamp_pb2.Timestamp
    def __init__(self, action: _Optional[_Union[Decision.Action, str]] = ..., reason: _Optional[str] = ..., words: _Optional[str] = ..., would_move_bytes: _Optional[int] = ..., predicted_seconds: _Optional[float] = ..., not_before_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "tasks", "policy", "own_policy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OWN_POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    tasks: _containers.RepeatedCompositeFieldContainer[TaskOnHost]
    policy: _types_pb2.Policy
    own_policy: bool
    def __init__(self, name: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[TaskOnHost, _Mapping]]] = ..., policy: _Optional[_Union[_types_pb2.Policy, _Mapping]] = ..., own_policy: bool = ...) -> None: ...

class Move(_message.Message):
    __slots__ = ("name", "host", "job", "order", "state", "reason", "create_time", "end_time", "progress", "outcome", "by_agent_alone")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    BY_AGENT_ALONE_FIELD_NUMBER: _ClassVar[int]
    name: str
    host: str
    job: str
    order: _types_pb2.MoveOrder
    state: _types_pb2.MoveState
    reason: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    progress: _types_pb2.MoveProgress
    outcome: _types_pb2.MoveOutcome
    by_agent_alone: bool
    def __init__(self, name: _Optional[str] = ..., host: _Optional[str] = ..., job: _Optional[str] = ..., order: _Optional[_Union[_types_pb2.MoveOrder, _Mapping]] = ..., state: _Optional[_Union[_types_pb2.MoveState, str]] = ..., reason: _Optional[str] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., progress: _Optional[_Union[_types_pb2.MoveProgress, _Mapping]] = ..., outcome: _Optional[_Union[_types_pb2.MoveOutcome, _Mapping]] = ..., by_agent_alone: bool = ...) -> None: ...

class NamedPolicy(_message.Message):
    __slots__ = ("name", "policy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    name: str
    policy: _types_pb2.Policy
    def __init__(self, name: _Optional[str] = ..., policy: _Optional[_Union[_types_pb2.Policy, _Mapping]] = ...) -> None: ...

class ListHostsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHostsResponse(_message.Message):
    __slots__ = ("hosts", "next_page_token")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[Host]
    next_page_token: str
    def __init__(self, hosts: _Optional[_Iterable[_Union[Host, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetHostRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "host")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    host: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("name", "measure")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    measure: bool
    def __init__(self, name: _Optional[str] = ..., measure: bool = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("job", "moves", "words")
    JOB_FIELD_NUMBER: _ClassVar[int]
    MOVES_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    job: Job
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., moves: _Optional[_Iterable[_Union[Move, _Mapping]]] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class ListMovesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "parent", "only_open")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ONLY_OPEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    parent: str
    only_open: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., parent: _Optional[str] = ..., only_open: bool = ...) -> None: ...

class ListMovesResponse(_message.Message):
    __slots__ = ("moves", "next_page_token")
    MOVES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    moves: _containers.RepeatedCompositeFieldContainer[Move]
    next_page_token: str
    def __init__(self, moves: _Optional[_Iterable[_Union[Move, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetMoveRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class CancelMoveRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class WatchMovesRequest(_message.Message):
    __slots__ = ("parent",)
    PARENT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    def __init__(self, parent: _Optional[str] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[NamedPolicy]
    next_page_token: str
    def __init__(self, policies: _Optional[_Iterable[_Union[NamedPolicy, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UpdatePolicyRequest(_message.Message):
    __slots__ = ("policy", "update_mask")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    policy: NamedPolicy
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, policy: _Optional[_Union[NamedPolicy, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class DeletePolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeletePolicyResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
