"""A real RabbitMQ for the suite: one node a session, its own epmd, everything on 127.0.0.1 and in a temp folder."""

import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.packages import Installation, package
from tests.support.processes import end, free_port, spawn

BOOT_SECONDS = 90
CONFIGURATION = """
listeners.tcp.default = 127.0.0.1:{port}
disk_free_limit.absolute = 10MB
vm_memory_high_watermark.absolute = 1GB
log.file = false
log.console = true
log.console.level = warning
"""


class RabbitServer:
    """One node on one port for its whole life, to be killed and started again at will."""

    def __init__(self, folder: Path, installation: Installation) -> None:
        self.folder = folder
        self.port = free_port()
        self._installation = installation
        self._epmd_port, self._distribution_port = free_port(), free_port()
        self._name = f"carillon_{secrets.token_hex(4)}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start, or start again on the same port and data; returns when it accepts connections."""
        if self._epmd is None:
            self._configure()
            epmd = self._installation.glob("usr/lib/erlang/erts-*/bin/epmd")
            self._epmd = spawn([str(epmd)], log=self.folder / "epmd.log", env=self._environment())
        script = self._installation.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
        self._process = spawn([str(script)], log=self.folder / "log", env=self._environment(), cwd=self.folder)
        self._wait_until_ready()

    def stop(self) -> None:
        end(self._process, sign=signal.SIGTERM, within=30)

    def kill(self) -> None:
        end(self._process, sign=signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def control(self, *command: str) -> bool:
        """What an operator types after `rabbitmqctl`; False where the node is away."""
        script = self._installation.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmqctl")
        done = subprocess.run(
            [str(script), *command], env=self._environment(), capture_output=True, timeout=60, check=False
        )
        return done.returncode == 0

    def virtual_host(self) -> str:
        """The address of a virtual host of one's own: what others on this server announce is not heard there."""
        name = f"host-{secrets.token_hex(4)}"
        assert self.control("add_vhost", name)
        assert self.control("set_permissions", "--vhost", name, "guest", ".*", ".*", ".*")
        return f"{self.url}{name}"

    def close(self) -> None:
        self.kill()
        end(self._epmd, sign=signal.SIGKILL)

    def _configure(self) -> None:
        (self.folder / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "environment").write_text("")

    def _environment(self) -> dict[str, str]:
        home = self._installation.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
        return {
            **{name: value for name, value in self._installation.environment().items() if "RABBITMQ" not in name},
            "HOME": str(self.folder),  # the cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "environment"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PLUGINS_DIR": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script becomes the node instead of minding it
        }

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._answers():
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"RabbitMQ did not start: {(self.folder / 'log').read_text()[-1500:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        """Whether the node greets a client: the listener opens last."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
                client.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(client.recv(1))
        except OSError:
            return False


@contextmanager
def rabbitmq_server() -> Iterator[RabbitServer]:
    """Run a RabbitMQ of our own, gone with its data afterwards."""
    installation = package("rabbitmq-server", marker="usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server")
    folder = Path(tempfile.mkdtemp(prefix="carillon-rabbitmq-"))
    server = RabbitServer(folder, installation)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
