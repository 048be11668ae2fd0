"""The process that speaks to Ray: ``python -m epochwise.trials.driver DESCRIPTOR PARENT``, started by ``cluster.Cluster``.

It hands every trial to Ray as a task that needs as many cores as it keeps busy, and passes on what comes back. Ray may end
this process (it does when the head of the cluster is lost); the main process then hears the end of the connection, and has all
that was passed on before.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections import Counter
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from epochwise.measuring.worker import die_with_parent
from epochwise.trials.cluster import LOCAL, Connect, Connected, FromDriver, Lost, RunAll, ToDriver
from epochwise.trials.events import Failed, Finished, Tick
from epochwise.trials.execution import version
from epochwise.trials.local import MOST_KILLS, TICK_SECONDS
from epochwise.trials.worker import Run

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # nodes have what they have; nothing is packed up and sent
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
}
KNOCK_SECONDS = 5.0
OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster on this machine: results are small, and Ray would otherwise reserve a third of the memory."""

MOST_LOST_NODES = 10
"""So many nodes may die under one trial before it is given up."""

_RESULT: msgspec.msgpack.Decoder[Finished | Failed | Lost] = msgspec.msgpack.Decoder(Finished | Failed | Lost)


def on_node(key: str, description: str, wanted: str) -> bytes:
    """Run a trial on a node. This function travels there as code, since epochwise may be missing there."""
    import sys

    import msgspec

    try:
        from epochwise.trials.cluster import Lost
        from epochwise.trials.execution import execute, version
    except ImportError as error:
        raise ModuleNotFoundError(f"{error} (Python is {sys.executable})") from None
    if version() != wanted:
        what = f"A node of the cluster has epochwise {version()}, and here it is {wanted}; results must not depend on the node."
        return msgspec.msgpack.encode(Lost(what, remedy=f"pip install epochwise=={wanted}   (on all nodes)"))
    return msgspec.msgpack.encode(execute(key, description))


class Driver:
    """The main process's trials on a cluster.

    Args:
        connection: to the main process.
        connect: which cluster.
    """

    def __init__(self, connection: Connection, connect: Connect) -> None:
        self._connection = connection
        self._connect = connect
        self._kills: Counter[str] = Counter()
        self._lost_nodes: Counter[str] = Counter()
        self._under_way: dict[Any, Run] = {}

    def join(self) -> bool:
        """Reach the cluster, or say why not."""
        import ray

        address = self._connect.address
        if why := _nobody_there(address):
            what = f"The cluster {address} cannot be reached: {why}. Nothing was started, and nothing is lost."
            self._tell(Lost(what, "no cluster runs there, or on another port", _STATUS))
            return False
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
        try:
            if address == LOCAL:
                ray.init(
                    address="local",
                    num_cpus=self._connect.cores,
                    num_gpus=0,
                    include_dashboard=False,
                    object_store_memory=OBJECT_STORE_BYTES,
                    _temp_dir=self._connect.folder,
                    **common,
                )
            else:
                ray.init(address=address, **common)
            cores = int(ray.cluster_resources().get("CPU", 0))
        except Exception as error:
            said = str(error).strip() or type(error).__name__
            self._tell(Lost(f"The cluster {address} cannot be used: {said}", "another version of Ray or Python there", _STATUS))
            return False
        self._tell(Connected(max(1, cores)))
        return True

    def run(self, trials: list[Run]) -> None:
        """Run them all; returns when each one's end has been told, or the cluster is no use."""
        import ray

        environment = {"env_vars": self._connect.environment}
        of_nodes = (int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"])
        self._cores_everywhere = min((cores for cores in of_nodes if cores), default=1)
        self._task = ray.remote(num_cpus=1, max_retries=0, runtime_env=environment)(on_node)
        for run in trials:
            self._submit(run)
        while self._under_way:
            done, _ = ray.wait(list(self._under_way), num_returns=1, timeout=TICK_SECONDS)
            for task in done:
                message = self._outcome(task, self._under_way.pop(task))
                if message is not None:
                    self._tell(message)
                if isinstance(message, Lost):
                    return
            if not done:
                self._tell(Tick(max(1, int(ray.cluster_resources().get("CPU", 1)))))

    def _submit(self, run: Run) -> None:
        task = self._task.options(num_cpus=min(run.cores, self._cores_everywhere))
        self._under_way[task.remote(run.key, run.description, version())] = run

    def _outcome(self, task: Any, run: Run) -> Finished | Failed | Lost | None:
        """What came of a task; ``None`` if it runs once more."""
        import ray
        from ray import exceptions

        try:
            return _RESULT.decode(ray.get(task))
        except (exceptions.WorkerCrashedError, exceptions.OutOfMemoryError) as error:
            self._kills[run.key] += 1
            if self._kills[run.key] == MOST_KILLS:
                return Failed(run.key, f"Its worker was ended {MOST_KILLS} times. Ray says: {_first_line(error)}")
        except (exceptions.NodeDiedError, exceptions.ObjectLostError, exceptions.LocalRayletDiedError) as error:
            self._lost_nodes[run.key] += 1
            if self._lost_nodes[run.key] == MOST_LOST_NODES:
                return Failed(run.key, f"The node that ran it died {MOST_LOST_NODES} times. Ray says: {_first_line(error)}")
        except ModuleNotFoundError as error:
            what = f"A node of the cluster cannot import epochwise: {_last_line(error)}"
            remedy = f"pip install epochwise=={version()}   (on all nodes, in the Python that Ray runs on)"
            return Lost(what, "epochwise is installed here, but not on all nodes", remedy)
        except exceptions.RayError as error:
            return Lost(f"The cluster cannot run trials: {_first_line(error)}", remedy=_STATUS)
        self._submit(run)
        return None

    def _tell(self, message: FromDriver) -> None:
        self._connection.send_bytes(msgspec.msgpack.encode(message))


_STATUS = "ray status --address ADDRESS tells whether a cluster runs there"


def _nobody_there(address: str) -> str:
    """Why nobody listens at ``host:port``; empty if somebody does, or if the address is of another kind."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return ""
    try:
        socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().rpartition("\n")[2]


def main() -> None:
    """Serve one run and leave."""
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides when to end
    os.environ.update(QUIET_RAY)
    connection = Connection(int(sys.argv[1]))
    decoder: msgspec.msgpack.Decoder[ToDriver] = msgspec.msgpack.Decoder(ToDriver)
    try:
        connect = decoder.decode(connection.recv_bytes())
        assert isinstance(connect, Connect), "the first message always is"
        sys.path[:] = connect.path
        driver = Driver(connection, connect)
        if driver.join():
            request = decoder.decode(connection.recv_bytes())
            assert isinstance(request, RunAll), "the second message always is"
            driver.run(request.trials)
            connection.recv_bytes()  # until the main process hangs up
    except (EOFError, OSError):
        pass
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


if __name__ == "__main__":
    main()
