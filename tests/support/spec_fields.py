"""The fields of config.json in runtime-spec 1.3, on Linux and with the vm section.

The section of each other platform is one field. `[]` is any entry of an array, `{}` any member of an object with free names. A
group in braces stands for each of its words.
"""

import itertools
import re

_HOOK = "[].{path,args,env,timeout}"
_MAPPING = "[].{containerID,hostID,size}"
_RATE = "[].{major,minor,rate}"

_SHORT = f"""
ociVersion annotations hostname domainname solaris windows zos freebsd
root root.{{path,readonly}}
hooks hooks.{{prestart,createRuntime,createContainer,startContainer,poststart,poststop}}
hooks.{{prestart,createRuntime,createContainer,startContainer,poststart,poststop}}{_HOOK}
mounts mounts[].{{source,destination,options,type,uidMappings,gidMappings}} mounts[].{{uidMappings,gidMappings}}{_MAPPING}

process process.{{args,commandLine,consoleSize,cwd,env,terminal,user,capabilities,apparmorProfile,oomScoreAdj,selinuxLabel}}
process.{{ioPriority,noNewPrivileges,scheduler,rlimits,execCPUAffinity}}
process.consoleSize.{{height,width}} process.user.{{uid,gid,umask,additionalGids,username}}
process.capabilities.{{bounding,permitted,effective,inheritable,ambient}} process.ioPriority.{{class,priority}}
process.scheduler.{{policy,nice,priority,flags,runtime,deadline,period}} process.rlimits[].{{hard,soft,type}}
process.execCPUAffinity.{{initial,final}}

linux linux.{{devices,netDevices,uidMappings,gidMappings,namespaces,resources,cgroupsPath,rootfsPropagation,seccomp,sysctl}}
linux.{{maskedPaths,readonlyPaths,mountLabel,intelRdt,memoryPolicy,personality,timeOffsets}}
linux.devices[].{{type,path,fileMode,major,minor,uid,gid}} linux.netDevices{{}}.name
linux.{{uidMappings,gidMappings}}{_MAPPING} linux.namespaces[].{{type,path}}
linux.intelRdt.{{closID,schemata,l3CacheSchema,memBwSchema,enableMonitoring}} linux.memoryPolicy.{{mode,nodes,flags}}
linux.personality.{{domain,flags}} linux.timeOffsets.{{boottime,monotonic}}
linux.timeOffsets.{{boottime,monotonic}}.{{secs,nanosecs}}

linux.resources.{{unified,devices,pids,blockIO,cpu,hugepageLimits,memory,network,rdma}}
linux.resources.devices[].{{allow,type,major,minor,access}} linux.resources.pids.limit
linux.resources.blockIO.{{weight,leafWeight,weightDevice}}
linux.resources.blockIO.weightDevice[].{{major,minor,weight,leafWeight}}
linux.resources.blockIO.throttle{{Read,Write}}{{Bps,IOPS}}Device
linux.resources.blockIO.throttle{{Read,Write}}{{Bps,IOPS}}Device{_RATE}
linux.resources.cpu.{{cpus,mems,period,quota,burst,realtimePeriod,realtimeRuntime,shares,idle}}
linux.resources.hugepageLimits[].{{pageSize,limit}}
linux.resources.memory.{{kernel,kernelTCP,limit,reservation,swap,swappiness,disableOOMKiller,useHierarchy,checkBeforeUpdate}}
linux.resources.network.{{classID,priorities}} linux.resources.network.priorities[].{{name,priority}}
linux.resources.rdma{{}}.{{hcaHandles,hcaObjects}}

linux.seccomp.{{defaultAction,defaultErrnoRet,flags,listenerPath,listenerMetadata,architectures,syscalls}}
linux.seccomp.syscalls[].{{names,action,errnoRet,args}} linux.seccomp.syscalls[].args[].{{index,value,valueTwo,op}}

vm vm.{{hypervisor,kernel,image,hwConfig}} vm.hypervisor.{{path,parameters}} vm.kernel.{{path,parameters,initrd}}
vm.image.{{path,format}} vm.hwConfig.{{deviceTree,vcpus,memory,dtdevs,iomems,irqs}}
vm.hwConfig.iomems[].{{firstGFN,firstMFN,nrMFNs}}
"""


def _expanded(short: str) -> list[str]:
    parts = re.split(r"\{([^}]+)\}", short)  # every other one is a group
    choices = [part.split(",") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(words) for words in itertools.product(*choices)]


FIELDS = frozenset(path for short in _SHORT.split() for path in _expanded(short))
