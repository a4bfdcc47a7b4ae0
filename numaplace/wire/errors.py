"""The reason of a refused call on the wire: google.rpc.ErrorInfo of domain "numaplace" in google.rpc.Status.

The two messages are described here in a pool of their own. They are a dozen lines, while the package that holds them
(googleapis-common-protos) would be one more dependency in the environments that users share with Ray.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from numaplace.wire import checks

DOMAIN = "numaplace"
DETAILS_KEY = "grpc-status-details-bin"
"""The trailing metadata that carries the details of a status, by gRPC's convention."""

_INFO_URL = "type.googleapis.com/google.rpc.ErrorInfo"
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_MESSAGES = {
    "ErrorInfo": (("reason", 1, _STRING, False), ("domain", 2, _STRING, False)),
    "Status": (("code", 1, _INT32, False), ("message", 2, _STRING, False), ("details", 3, _BYTES, True)),
    # google.protobuf.Any, which Status.details are; embedded messages and bytes look the same on the wire.
    "Detail": (("type_url", 1, _STRING, False), ("value", 2, _BYTES, False)),
}


def error_details(code: int, words: str, reason: str) -> bytes:
    """The value for ``grpc-status-details-bin``; ``reason`` is UPPER_SNAKE_CASE by google.rpc's convention."""
    info = _class("ErrorInfo")(reason=reason, domain=DOMAIN)
    detail = _class("Detail")(type_url=_INFO_URL, value=info.SerializeToString())
    return bytes(_class("Status")(code=code, message=words, details=[detail.SerializeToString()]).SerializeToString())


def error_reason(details: bytes) -> str:
    """The reason in such a value, empty if there is none of ours; never raises for what a peer sent."""
    try:
        for sent in _class("Status").FromString(details).details:
            detail = _class("Detail").FromString(sent)
            if detail.type_url == _INFO_URL:
                info = _class("ErrorInfo").FromString(detail.value)
                if info.domain == DOMAIN:
                    return checks.clean(info.reason, checks.NAME_CHARS_MAX)
    except DecodeError:
        return ""
    return ""


@cache
def _class(name: str) -> Any:  # noqa: ANN401 - made at run time, so no stub can describe it
    file = descriptor_pb2.FileDescriptorProto(
        name="numaplace/errors.proto", package="numaplace.errors", syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, number, kind, repeated in fields:
            label = descriptor_pb2.FieldDescriptorProto.Label.Value("LABEL_REPEATED" if repeated else "LABEL_OPTIONAL")
            described.field.add(name=field, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"numaplace.errors.{name}"))
