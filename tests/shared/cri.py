"""A client of Kubernetes' container runtime interface (CRI), version 1, with which a kubelet calls containerd.

It has the messages and fields of api.proto that the tests use. A map is written as on the wire: a repeated message of key and
value. An enumeration is written as its number.
"""

import re
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from runxtools.testing.containers import LIMIT_S

_MESSAGES = """
KeyValue: string key 1, string value 2
NamespaceOption: int32 network 1, int32 pid 2, int32 ipc 3, string target_id 4
Mount: string container_path 1, string host_path 2, bool readonly 3, int32 propagation 5
ImageSpec: string image 1
ImageStatusRequest: ImageSpec image 1
Image: string id 1
ImageStatusResponse: Image image 1
UInt64Value: uint64 value 1

PodSandboxMetadata: string name 1, string uid 2, string namespace 3, uint32 attempt 4
DNSConfig: string* servers 1, string* searches 2, string* options 3
LinuxSandboxSecurityContext: NamespaceOption namespace_options 1
LinuxPodSandboxConfig: string cgroup_parent 1, LinuxSandboxSecurityContext security_context 2, KeyValue* sysctls 3, \
    LinuxContainerResources resources 5
PodSandboxConfig: PodSandboxMetadata metadata 1, string hostname 2, string log_directory 3, DNSConfig dns_config 4, \
    KeyValue* labels 6, KeyValue* annotations 7, LinuxPodSandboxConfig linux 8
RunPodSandboxRequest: PodSandboxConfig config 1, string runtime_handler 2
RunPodSandboxResponse: string pod_sandbox_id 1
StopPodSandboxRequest: string pod_sandbox_id 1
StopPodSandboxResponse:
RemovePodSandboxRequest: string pod_sandbox_id 1
RemovePodSandboxResponse:
PodSandboxStatusRequest: string pod_sandbox_id 1, bool verbose 2
PodSandboxNetworkStatus: string ip 1
PodSandboxStatus: string id 1, int32 state 3, PodSandboxNetworkStatus network 5
PodSandboxStatusResponse: PodSandboxStatus status 1, KeyValue* info 2
ListPodSandboxRequest:
PodSandbox: string id 1, int32 state 3
ListPodSandboxResponse: PodSandbox* items 1

LinuxContainerResources: int64 cpu_period 1, int64 cpu_quota 2, int64 cpu_shares 3, int64 memory_limit_in_bytes 4, \
    KeyValue* unified 9
Int64Value: int64 value 1
Capability: string* add_capabilities 1, string* drop_capabilities 2
LinuxContainerSecurityContext: Capability capabilities 1, NamespaceOption namespace_options 3, Int64Value run_as_user 5, \
    string run_as_username 6, bool readonly_rootfs 7, int64* supplemental_groups 8, bool no_new_privs 11, \
    Int64Value run_as_group 12, string* masked_paths 13, string* readonly_paths 14
LinuxContainerConfig: LinuxContainerResources resources 1, LinuxContainerSecurityContext security_context 2
ContainerMetadata: string name 1, uint32 attempt 2
ContainerConfig: ContainerMetadata metadata 1, ImageSpec image 2, string* command 3, string* args 4, string working_dir 5, \
    KeyValue* envs 6, Mount* mounts 7, KeyValue* labels 9, KeyValue* annotations 10, string log_path 11, bool stdin 12, \
    bool stdin_once 13, bool tty 14, LinuxContainerConfig linux 15
CreateContainerRequest: string pod_sandbox_id 1, ContainerConfig config 2, PodSandboxConfig sandbox_config 3
CreateContainerResponse: string container_id 1
StartContainerRequest: string container_id 1
StartContainerResponse:
StopContainerRequest: string container_id 1, int64 timeout 2
StopContainerResponse:
RemoveContainerRequest: string container_id 1
RemoveContainerResponse:
ListContainersRequest:
Container: string id 1, string pod_sandbox_id 2, ContainerMetadata metadata 3, int32 state 6
ListContainersResponse: Container* containers 1
ContainerStatusRequest: string container_id 1
ContainerStatus: string id 1, int32 state 3, int32 exit_code 7, string reason 10, string message 11
ContainerStatusResponse: ContainerStatus status 1
UpdateContainerResourcesRequest: string container_id 1, LinuxContainerResources linux 2
UpdateContainerResourcesResponse:
ExecSyncRequest: string container_id 1, string* cmd 2, int64 timeout 3
ExecSyncResponse: bytes stdout 1, bytes stderr 2, int32 exit_code 3
ExecRequest: string container_id 1, string* cmd 2, bool tty 3, bool stdin 4, bool stdout 5, bool stderr 6
ExecResponse: string url 1
PortForwardRequest: string pod_sandbox_id 1, int32* port 2
PortForwardResponse: string url 1
AttachRequest: string container_id 1, bool stdin 2, bool tty 3, bool stdout 4, bool stderr 5
AttachResponse: string url 1
ReopenContainerLogRequest: string container_id 1
ReopenContainerLogResponse:

CpuUsage: int64 timestamp 1, UInt64Value usage_core_nano_seconds 2
MemoryUsage: int64 timestamp 1, UInt64Value working_set_bytes 2
ContainerAttributes: string id 1
ContainerStats: ContainerAttributes attributes 1, CpuUsage cpu 2, MemoryUsage memory 3
ContainerStatsRequest: string container_id 1
ContainerStatsResponse: ContainerStats stats 1
ListContainerStatsRequest:
ListContainerStatsResponse: ContainerStats* stats 1
PodSandboxAttributes: string id 1
PodSandboxStats: PodSandboxAttributes attributes 1
PodSandboxStatsRequest: string pod_sandbox_id 1
PodSandboxStatsResponse: PodSandboxStats stats 1

StatusRequest:
RuntimeCondition: string type 1, bool status 2, string reason 3, string message 4
RuntimeStatus: RuntimeCondition* conditions 1
StatusResponse: RuntimeStatus status 1
"""
"""Messages by name; each line is a field: type (with * if it is repeated), name and number."""

POD, CONTAINER, NODE, TARGET = 0, 1, 2, 3
"""Values of NamespaceMode."""
READY, NOT_READY = 0, 1
"""Values of PodSandboxState."""
CREATED, RUNNING, EXITED = 0, 1, 2
"""Values of ContainerState."""

_PACKAGE = "runtime.v1"
_FIELD = re.compile(r"(\w+)(\*?) (\w+) (\d+)")


def _classes() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=_PACKAGE, syntax="proto3")
    kind = descriptor_pb2.FieldDescriptorProto
    for line in filter(None, _MESSAGES.replace("\\\n", "").splitlines()):
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for type_name, repeated, field_name, number in _FIELD.findall(fields):
            field = message.field.add(name=field_name, number=int(number))
            field.label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            if type_name[0].isupper():
                field.type, field.type_name = kind.TYPE_MESSAGE, f".{_PACKAGE}.{type_name}"
            else:
                field.type = kind.Type.Value(f"TYPE_{type_name.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names}


def pairs(**values: str) -> list[dict[str, str]]:
    """A map as the interface has it."""
    return [{"key": key, "value": value} for key, value in values.items()]


class Client:
    """Calls RuntimeService and ImageService at a unix socket: `call("StopPodSandbox", pod_sandbox_id=ID)`."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._classes = _classes()

    def call(self, name: str, **fields: Any) -> Any:
        """Send a request with these fields: the response. Raises CallError with the other end's message."""
        request, response = self._classes[f"{name}Request"], self._classes[f"{name}Response"]
        service = "ImageService" if name.startswith("Image") else "RuntimeService"
        method = self._channel.unary_unary(
            f"/{_PACKAGE}.{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        try:
            return method(request(**fields), timeout=LIMIT_S)
        except grpc.RpcError as error:
            raise CallError(f"{name}: {error.details()}") from None

    def close(self) -> None:
        self._channel.close()


class CallError(Exception):
    """containerd's message on a failed call."""
