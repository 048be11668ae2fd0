"""Training runs: their descriptions, where results are kept, and what runs them.

::

    trials = [Trial(run="package.module:function", arguments={"seed": seed}) for seed in range(5)]
    with Store("trials.sqlite") as store:
        results = complete(trials, store, Local())
    results[trials[0].key].numbers["accuracy"]

What is in the store is not run again, so the same lines go on where a killed program stopped.
"""

from epochwise.trials.cluster import Cluster
from epochwise.trials.completing import Status, complete, status
from epochwise.trials.events import Failed, Finished, Runner
from epochwise.trials.local import Local
from epochwise.trials.store import Store
from epochwise.trials.trial import Outcome, Result, Trial

__all__ = [
    "Cluster",
    "Failed",
    "Finished",
    "Local",
    "Outcome",
    "Result",
    "Runner",
    "Status",
    "Store",
    "Trial",
    "complete",
    "status",
]
