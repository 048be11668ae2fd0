"""Ray clusters of one or two nodes on this machine, whose nodes can be killed."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from tests.trials import program

TWO_NODES = """
import os, sys, time
from ray.cluster_utils import Cluster
memory = {"object_store_memory": 100 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **memory})
second = cluster.add_node(num_cpus=1, **memory) if sys.argv[1] == "2" else None
print(cluster.address, flush=True)
for line in sys.stdin:
    if line.startswith("kill second"):
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
"""


class RayCluster:
    """A cluster of one or two nodes on this machine, in a process of its own, so that Ray does not get into this one."""

    def __init__(self, nodes: int) -> None:
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", TWO_NODES, str(nodes)],
            cwd=program.ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._line()

    def kill_second_node(self) -> None:
        """Its processes are killed, without a word."""
        self._process.stdin.write("kill second\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def kill_head(self) -> None:
        """The whole cluster is gone."""
        for child in psutil.Process(self._process.pid).children(recursive=True):
            child.kill()

    def close(self) -> None:
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.communicate()
        for child in children:
            if child.is_running():
                child.kill()
        psutil.wait_procs(children, timeout=10)

    def _line(self) -> str:
        for line in self._process.stdout:
            if line.strip() == "killed" or ":" in line:
                return line.strip().rsplit(maxsplit=1)[-1]
        raise AssertionError("the cluster did not start")
