# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``systemctl show`` printed on real hosts, recorded 2026-11-21.

Debian 12 with systemd 252 (252.39-1~deb12u2), where not named otherwise; Debian 13 with systemd 257 (257.13-1~deb13u1).
"""
from __future__ import annotations

#: CLOCK_MONOTONIC in seconds, read right after 'running' was recorded.
MONOTONIC = 3005.349069637

SHOWN = {
    "missing": """\
MainPID=0
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=0
ExecMainCode=0
ExecMainStatus=0
ControlGroup=
LoadState=not-found
ActiveState=inactive
SubState=dead
FragmentPath=
DropInPaths=
UnitFileState=
Job=
NeedDaemonReload=no
ConditionResult=no
""",
    "never started": """\
MainPID=0
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=0
ExecMainCode=0
ExecMainStatus=0
ControlGroup=
LoadState=loaded
ActiveState=inactive
SubState=dead
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=disabled
Job=
NeedDaemonReload=no
ConditionResult=no
""",
    "condition not met": """\
MainPID=0
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=0
ExecMainCode=0
ExecMainStatus=0
ControlGroup=
LoadState=loaded
ActiveState=inactive
SubState=dead
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=disabled
Job=
NeedDaemonReload=no
ConditionResult=no
""",
    "running": """\
MainPID=131
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=3005008177
ExecMainCode=0
ExecMainStatus=0
ControlGroup=/system.slice/venom-vllm.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "drop-in loaded": """\
MainPID=131
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=3005008177
ExecMainCode=0
ExecMainStatus=0
ControlGroup=/system.slice/venom-vllm.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "waits for restart": """\
MainPID=0
Result=signal
NRestarts=0
ExecMainStartTimestampMonotonic=3005008177
ExecMainCode=2
ExecMainStatus=9
ControlGroup=
LoadState=loaded
ActiveState=activating
SubState=auto-restart
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "restarted": """\
MainPID=158
Result=success
NRestarts=1
ExecMainStartTimestampMonotonic=3006732737
ExecMainCode=0
ExecMainStatus=0
ControlGroup=/system.slice/venom-vllm.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "stopped": """\
MainPID=0
Result=success
NRestarts=1
ExecMainStartTimestampMonotonic=3006732737
ExecMainCode=2
ExecMainStatus=15
ControlGroup=
LoadState=loaded
ActiveState=inactive
SubState=dead
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "start died": """\
MainPID=0
Result=exit-code
NRestarts=0
ExecMainStartTimestampMonotonic=3007452220
ExecMainCode=1
ExecMainStatus=3
ControlGroup=
LoadState=loaded
ActiveState=activating
SubState=auto-restart
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "start limit hit": """\
MainPID=0
Result=exit-code
NRestarts=3
ExecMainStartTimestampMonotonic=3009732330
ExecMainCode=1
ExecMainStatus=3
ControlGroup=
LoadState=loaded
ActiveState=failed
SubState=failed
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=/etc/systemd/system/venom-vllm.service.d/10-operator.conf
UnitFileState=enabled
Job=
NeedDaemonReload=no
ConditionResult=yes
""",
    "masked": """\
MainPID=0
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=0
ExecMainCode=0
ExecMainStatus=0
ControlGroup=
LoadState=masked
ActiveState=inactive
SubState=dead
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=masked
Job=
NeedDaemonReload=no
ConditionResult=no
cgroup.controllers
cgroup.events
cgroup.freeze
""",
    "queued on 257": """\
MainPID=172
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=3013991012
ExecMainCode=0
ExecMainStatus=0
ControlGroup=/system.slice/venom-vllm.service
LoadState=loaded
ActiveState=activating
SubState=start
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=enabled
Job=155
NeedDaemonReload=no
ConditionResult=yes
""",
    "needs reload on 257": """\
MainPID=172
Result=success
NRestarts=0
ExecMainStartTimestampMonotonic=3013991012
ExecMainCode=0
ExecMainStatus=0
ControlGroup=/system.slice/venom-vllm.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/venom-vllm.service
DropInPaths=
UnitFileState=enabled
Job=
NeedDaemonReload=yes
ConditionResult=yes
""",
}
