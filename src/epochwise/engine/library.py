"""Kernels -> machine code, compiled one by one when they are first needed, and kept on disk.

A kept file is named by a hash of the kernel's assembly, the processor and the compiler, so it can never be the code of another
kernel, and a changed kernel is compiled anew. It begins with a checksum; what does not agree with it (a half-written file, a
bad disk) is compiled again. Files are written beside and renamed, so processes may read and write at once.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import platformdirs

from epochwise.engine.code import Variant
from epochwise.engine.locks import Lock
from epochwise.engine.target import Target
from epochwise.errors import EpochwiseError
from epochwise.files import write_bytes

_CHECKSUM_BYTES = 32


def folder() -> Path:
    """Where compiled kernels are kept: below ``EPOCHWISE_CACHE``, or the user's cache folder."""
    return Path(os.environ.get("EPOCHWISE_CACHE") or platformdirs.user_cache_dir("epochwise")) / "kernels"


@cache
def library_for(target: Target) -> Library:
    """The kernels of this process for a target: what one network needed is there for the next."""
    return Library(target)


class Library:
    """The compiled kernels of this process, for one target. Threads may ask for them at once; one of them compiles."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._addresses: dict[Variant, int] = {}
        self._linked: list[Any] = []
        self._numbers = count()
        self._compiling = Lock()
        self._complained = False

    def missing(self, variants: Iterable[Variant]) -> list[Variant]:
        """Those of them that are not loaded yet."""
        return [variant for variant in dict.fromkeys(variants) if variant not in self._addresses]

    def load(
        self,
        variants: Iterable[Variant],
        progress: Callable[[int, int], None] | None = None,
        alike: Callable[[], Iterable[Variant]] = tuple,
    ) -> dict[Variant, int]:
        """The addresses of these kernels; what is missing is read from disk or compiled.

        Args:
            variants: which.
            alike: gives others that are likely to be needed later: they are compiled and kept, too, if any of these had to be.
            progress: is told how many are done, and of how many, before each and at the end. What it raises ends the loading;
                what was loaded stays.
        """
        wanted = list(dict.fromkeys(variants))
        if self.missing(wanted):
            with self._compiling:
                self._load(self.missing(wanted), progress or (lambda done, total: None), alike)
        return {variant: self._addresses[variant] for variant in wanted}

    def _load(
        self, missing: list[Variant], progress: Callable[[int, int], None], alike: Callable[[], Iterable[Variant]]
    ) -> None:
        later: list[Variant] = []
        for number, variant in enumerate(missing):
            progress(number, len(missing) + len(later))
            compiled, new = self._object(variant)
            if new and not later:
                later = [other for other in alike() if other not in missing and other not in self._addresses]
            self._addresses[variant] = self._link(compiled)
        for number, variant in enumerate(later, start=len(missing)):
            progress(number, len(missing) + len(later))
            self._object(variant)
        progress(len(missing) + len(later), len(missing) + len(later))

    def _object(self, variant: Variant) -> tuple[bytes, bool]:
        """The machine code of a kernel, and whether it is new on disk."""
        assembly = variant.assembly()
        about = "\n".join((assembly, self.target.cpu, self.target.features, llvmlite.__version__))
        path = folder() / f"{hashlib.sha256(about.encode()).hexdigest()[:40]}.o"
        kept = _read(path)
        if kept is not None:
            return kept, False
        compiled = self._compile(assembly)
        return compiled, self._keep(path, compiled)

    def _keep(self, path: Path, compiled: bytes) -> bool:
        """Write machine code to disk; where that is not possible, it is compiled again next time, which is said once."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, hashlib.sha256(compiled).digest() + compiled, force=True)
        except (OSError, EpochwiseError) as error:
            if not self._complained:
                self._complained = True
                warnings.warn(_not_kept(path.parent, error), RuntimeWarning, stacklevel=2)
            return False
        return True

    def _compile(self, assembly: str) -> bytes:
        module = llvm.parse_assembly(assembly)
        module.triple = self._machine.triple
        module.data_layout = str(self._machine.target_data)
        # Kernels are unrolled and vectorised where they are written; the compiler doing either again only makes them longer.
        tuning = llvm.PipelineTuningOptions(speed_level=2)
        tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
        builder = llvm.create_pass_builder(self._machine, tuning)
        builder.getModulePassManager().run(module, builder)
        compiled: bytes = self._machine.emit_object(module)
        return compiled

    @cached_property
    def _machine(self) -> Any:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        return llvm.Target.from_default_triple().create_target_machine(
            cpu=self.target.cpu, features=self.target.features, opt=3, reloc="pic", jit=True
        )

    @cached_property
    def _linker(self) -> Any:
        return llvm.create_lljit_compiler(self._machine)

    def _link(self, compiled: bytes) -> int:
        part = llvm.JITLibraryBuilder().add_object_img(compiled).add_current_process().export_symbol("kernel")
        tracker = part.link(self._linker, f"kernel{next(self._numbers)}")  # never a name again, also after a Ctrl-C in here
        self._linked.append(tracker)  # the code is freed with it
        return int(tracker["kernel"])


def _read(path: Path) -> bytes | None:
    """The machine code in this file; ``None`` where there is none, or not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, compiled = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    return compiled if hashlib.sha256(compiled).digest() == checksum else None


def _not_kept(folder: Path, error: Exception) -> str:
    why = str(error).splitlines()[0]
    return (
        f"The compiled kernels could not be kept in {folder} ({why}), so each new process compiles them again. "
        "Set EPOCHWISE_CACHE to a folder that can be written to."
    )
