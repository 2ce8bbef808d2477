"""Jupyter's door to the warm process: a kernel by name, started in a moment.

Installed as the kernels `course` (warm) and `course-sandbox` (warm and shut in), for
JupyterLab, nbclient, nbval and nbgrader alike. Kernels talk through files instead of
ports, so that they need no network and collide with nobody.
"""

import asyncio
import os
import sys
import uuid
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import KernelProvisionerBase, LocalProvisioner
from traitlets import Bool

from helpers.grading import sandbox, warm

NAME = "course-warm"  # of the provisioner, in pyproject.toml
SPECS = Path(__file__).resolve().with_name("kernels")
PORTS = ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port")


class WarmProvisioner(LocalProvisioner):
    """Starts kernels as forks of the warm process."""

    sandbox = Bool(False, help="whether to shut the kernel in").tag(config=True)

    _sockets = _inside = None

    async def pre_launch(self, **settings):
        """Choose the kernel's sockets; ports are file names here."""
        manager = self.parent
        manager.transport = "ipc"
        if not self.sandbox:  # the same after a restart: clients wait there
            self._sockets = self._sockets or warm.folder() / f"k-{uuid.uuid4().hex[:9]}"
            manager.ip = os.fspath(self._sockets)
        for number, name in enumerate(PORTS, start=1):
            setattr(manager, name, number)
        arguments = settings.pop("extra_arguments", [])
        if not self.sandbox:
            manager.write_connection_file()
        return await KernelProvisionerBase.pre_launch(
            self, cmd=[*self.kernel_spec.argv, *arguments], **settings
        )

    async def launch_kernel(self, cmd, env=None, cwd=None, **settings):
        """Fork the kernel, in another thread: the first one waits for TensorFlow.

        Args:
            cmd: what follows `--` are arguments for IPython.
            settings: `limits` (`sandbox.Limits`), `seeds`, `warm_path`.
        """
        limits = settings.get("limits") or (sandbox.Limits() if self.sandbox else None)
        connection = self._connection(limits)
        self.process = await asyncio.to_thread(
            warm.start_kernel,
            connection,
            limits and sandbox.allowed(limits),
            settings.get("warm_path"),
            env={} if limits else env,
            cwd=os.fspath(cwd or Path.cwd()),
            arguments=cmd[cmd.index("--") + 1 :],
            seeds=settings.get("seeds"),
        )
        self.pid, self.cwd = self.process.pid, cwd
        if limits:
            self._reach_inside()
        self.connection_info = self.parent.get_connection_info()
        return self.connection_info

    def _connection(self, limits):
        info = self.parent.get_connection_info()
        plain = {name: info[name] for name in (*PORTS, "transport", "signature_scheme")}
        ip = f"{sandbox.ROOM}/k" if limits else info["ip"]
        return {**plain, "ip": ip, "key": info["key"].decode()}

    def _reach_inside(self):
        """Name the sandbox's sockets by our descriptor of their folder.

        After a restart the same descriptor stands for the new kernel's folder, so
        that clients find it again.
        """
        if self._inside is None:
            self._inside = os.dup(self.process.room)
        else:
            os.dup2(self.process.room, self._inside)
        os.set_inheritable(self._inside, False)
        self.parent.ip = f"/proc/self/fd/{self._inside}/k"

    async def cleanup(self, restart=False):
        """Forget the kernel; whatever still runs of it is killed."""
        if self.process is not None:
            self.process.close()
            self.process = None
        if self._inside is not None and not restart:
            os.close(self._inside)
            self._inside = None


def install(prefix=sys.prefix):
    """Install both kernels below `prefix`; returns their names."""
    names = sorted(path.name for path in SPECS.iterdir())
    for name in names:
        KernelSpecManager().install_kernel_spec(
            os.fspath(SPECS / name), name, prefix=prefix
        )
    return names
