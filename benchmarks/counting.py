"""How long counting takes, beside other counters of PyTorch models: ResNet-50, ViT-B/16 and GPT-2, built without weights.

    python benchmarks/counting.py
    python benchmarks/counting.py --json benchmarks/results/DATE-counting.json

Two comparisons, each on the same model and batch, the counters taking turns:

* a training step on the meta device: epochwise (forward, backward and optimizer, layer by layer, with bytes and memory) and
  torch's FlopCounterMode (forward and backward, in total);
* real tensors: epochwise (the same as above) and fvcore and torchinfo, which count the forward pass alone and run it.

Ratios are those of the medians: below 1, epochwise is faster. Needs the development tools (transformers, fvcore, torchinfo).
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import logging
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "critical")

import fvcore.nn
import torch
import torchinfo
import transformers
from torch.utils.flop_counter import FlopCounterMode

from epochwise.counting import count

TOKENS = 128
TASKS = (("training", "meta", 2), ("forward", "cpu", 2), ("forward", "cpu", 32))
"""What is counted, where, and the samples of a batch. Counters that run the model take longer for a larger one."""
TOOLS = ("epochwise", "torch", "transformers", "fvcore", "torchinfo")


class Logits(torch.nn.Module):
    """A model that takes its first argument by place and gives its logits, for counters that know no other way."""

    def __init__(self, model: torch.nn.Module, argument: str) -> None:
        super().__init__()
        self.model = model
        self.argument = argument

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        logits: torch.Tensor = self.model(**{self.argument: x}).logits
        return logits


def images(device: str, samples: int) -> dict[str, torch.Tensor]:
    """A batch of images with labels."""
    pixels = torch.zeros(samples, 3, 224, 224, device=device)
    return {"pixel_values": pixels, "labels": torch.zeros(samples, dtype=torch.long, device=device)}


def texts(device: str, samples: int) -> dict[str, torch.Tensor]:
    """A batch of tokens, to be predicted themselves."""
    tokens = torch.zeros(samples, TOKENS, dtype=torch.long, device=device)
    return {"input_ids": tokens, "labels": tokens}


MODELS: dict[str, tuple[Callable[[], Any], Callable[[str, int], dict[str, torch.Tensor]]]] = {
    "ResNet-50": (lambda: transformers.ResNetForImageClassification(transformers.ResNetConfig()), images),
    "ViT-B/16": (lambda: transformers.ViTForImageClassification(transformers.ViTConfig()), images),
    "GPT-2": (lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config()), texts),
}


def training(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Callable[[], int]]:
    """Counters of a training step; each gives MACs of the batch."""
    samples = len(next(iter(batch.values())))
    model.train()

    def ours() -> int:
        return int(count(model, samples, batch).per_sample.training_macs * samples)

    def flop_counter_mode() -> int:
        with FlopCounterMode(display=False) as counter:
            model(**batch).loss.backward()
        model.zero_grad(set_to_none=True)
        return int(counter.get_total_flops()) // 2

    return {"epochwise": ours, "FlopCounterMode": flop_counter_mode}


def forward(model: Any, batch: dict[str, torch.Tensor]) -> dict[str, Callable[[], int]]:
    """Counters of a forward pass, which ours does with the rest of the step; each gives MACs of the batch."""
    argument, x = next(iter(batch.items()))
    alone = Logits(model, argument).eval()

    def ours() -> int:
        return int(count(model, len(x), batch).per_sample.forward_macs * len(x))

    def by_fvcore() -> int:
        analysis = fvcore.nn.FlopCountAnalysis(alone, x)
        return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())

    def by_torchinfo() -> int:
        return int(torchinfo.summary(alone, input_data=[x], verbose=0).total_mult_adds)

    return {"epochwise": ours, "fvcore": by_fvcore, "torchinfo": by_torchinfo}


def timed(counters: dict[str, Callable[[], int]], rounds: int) -> list[dict[str, Any]]:
    """Each counter once to warm up, then all in turn; seconds of every round."""
    macs = {name: counter() for name, counter in counters.items()}
    seconds: dict[str, list[float]] = {name: [] for name in counters}
    for _ in range(rounds):
        for name, counter in counters.items():
            start = time.perf_counter()
            counter()
            seconds[name].append(time.perf_counter() - start)
    mine = statistics.median(seconds["epochwise"])
    return [
        {
            "counter": name,
            "macs": macs[name],
            "seconds": seconds[name],
            "median_seconds": statistics.median(seconds[name]),
            "ratio": mine / statistics.median(seconds[name]),
        }
        for name in counters
    ]


def main() -> None:
    """Time all, print a table, and keep a record if one is asked for; one that is there gets the models added."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="rounds that are timed (7)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--json", type=Path, help="file for the record; to one that is there, models are added")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)

    results = json.loads(options.json.read_text())["results"] if options.json and options.json.exists() else []
    print(f"{'':<11}{'':<10}{'of':<5}{'counter':<16}{'median':>9}{'ratio':>8}{'MACs':>20}")
    for name in options.models:
        make, batch = MODELS[name]
        for task, device, samples in TASKS:
            with torch.device(device):
                model = make()
            counters = training if task == "training" else forward
            table = timed(counters(model, batch(device, samples)), options.rounds)
            results.append({"model": name, "task": task, "device": device, "batch_size": samples, "counters": table})
            for row in table:
                figures = f"{row['median_seconds']:>8.3f}s{row['ratio']:>8.2f}{row['macs']:>20,}"
                print(f"{name:<11}{task:<10}{samples:<5}{row['counter']:<16}{figures}", flush=True)
    if options.json:
        record = {
            "schema": "epochwise-benchmark/counting/1",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": "python benchmarks/counting.py",
            "machine": {"processor": platform.processor() or platform.machine(), "cpus": os.cpu_count()},
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "versions": {tool: importlib.metadata.version(tool) for tool in TOOLS},
            "rounds": options.rounds,
            "results": results,
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
