"""``slurm.conf``: one node on loopback, without accounting, cgroups or an account of its own."""

from __future__ import annotations

import os
import pwd

from cscale_hub.local.slurm.config import NODE, SlurmConfig


def account() -> str:
    """The account that the daemons and all jobs run as: this one."""
    return pwd.getpwuid(os.getuid()).pw_name


def slurm_conf(config: SlurmConfig) -> str:
    """The text of ``slurm.conf``; the same for daemons and clients."""
    data, sockets, user = config.data_dir, config.socket_dir, account()
    members = {
        "ClusterName": "cscale",
        "SlurmctldHost": f"localhost({config.host})",
        "SlurmctldPort": config.controller_port,
        "SlurmUser": user,
        "SlurmdUser": user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={config.munge_socket}",
        "CredType": "cred/munge",
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
        "StateSaveLocation": data / "state",
        "SlurmdSpoolDir": sockets / "spool",
        "SlurmctldPidFile": sockets / "slurmctld.pid",
        "SlurmdPidFile": sockets / "slurmd.pid",
        "TaskProlog": data / "task-prolog",
        # Of cgroups nothing is known in a container.
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": max(1, config.memory_mb // config.cpus),
        "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=0,sched_interval=1,"
        "bf_interval=1",
        "AccountingStorageType": "accounting_storage/none",
        "JobCompType": "jobcomp/none",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": 5,
        "JobAcctGatherParams": "OverMemoryKill",
        "MailProg": "/bin/true",
        "ReturnToService": 2,
        "KillWait": 5,
        # There is no accounting that would still know a job.
        "MinJobAge": 24 * 60 * 60,
        "MessageTimeout": 10,
        "SlurmdParameters": "config_overrides",
        **config.settings,
    }
    node = (
        f"NodeName={NODE} NodeAddr={config.host} NodeHostname=localhost Port={config.node_port} "
        f"CPUs={config.cpus} RealMemory={config.memory_mb} {config.node_features}"
    )
    lines = [f"{name}={value}" for name, value in members.items()]
    return "\n".join([*lines, node.rstrip(), *config.partitions]) + "\n"
