"""Time, arithmetic and memory of one case; on a CPU in a process of its own, since memory is seldom given back."""

import contextlib
import dataclasses
import gc
import multiprocessing
import resource
import signal
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from calm.benchmark.settings import Settings

Row = dict[str, Any]  # of the table, by column
FUSED_ON_CPU = {  # attention that PyTorch does not count by itself, as it does that of a GPU; from the shapes
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
    ),
}
SHARE_OF_MEMORY = 0.9  # of what is free, which a case may take


@dataclasses.dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        section: of the table.
        model: what is measured.
        setting: in which size and way.
        measure: makes the row's numbers.
    """

    section: str
    model: str
    setting: str
    measure: Callable[[Settings], Row]


def repeat(call: Callable[[], Any], settings: Settings, *, count_flops: bool = True) -> Row:
    """Median time of `n` calls, and the TFLOP of the matrix products in one, as PyTorch counts them.

    They are counted in the first call, whose time is left out, unless it alone takes `settings.seconds`.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FUSED_ON_CPU)
    with counter if count_flops else contextlib.nullcontext():
        seconds = [time_once(call, settings.device)]
    if seconds[0] < settings.seconds:
        seconds = []
        while len(seconds) < settings.repeats and sum(seconds) < settings.seconds:
            seconds.append(time_once(call, settings.device))
    row = {"ms": 1000 * statistics.median(seconds), "fastest ms": 1000 * min(seconds), "n": len(seconds)}
    return row | ({"TFLOP": counter.get_total_flops() / 1e12} if count_flops else {})


def time_once(call: Callable[[], Any], device: str) -> float:
    """Seconds until a call is done, on the device too."""
    wait_for(device)
    began = time.perf_counter()
    call()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: str) -> None:
    """Return when the device has nothing left to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def start_memory(device: str) -> int:
    """Forget earlier peaks, as far as possible; returns the bytes in use."""
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return peak_memory(device)


def peak_memory(device: str) -> int:
    """Most bytes ever in use: allocated tensors on a GPU, else the resident memory of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure_here(case: Case, settings: Settings) -> Row:
    """The row of a case, with its peak memory beyond what was in use before; or a note why there is none."""
    torch.manual_seed(0)
    before = start_memory(settings.device)
    try:
        row = case.measure(settings)
    except Exception as error:  # one that fails must not take the other rows with it
        return {"note": reason(error)}
    return {**row, "peak MB": (peak_memory(settings.device) - before) / 1e6}


def reason(error: Exception) -> str:
    """Why a case has no numbers."""
    text = " ".join(str(error).split())
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in text
    return f"skipped, out of memory: {text}" if out_of_memory else f"failed: {type(error).__name__}: {text}"


def measure_apart(case: Case, settings: Settings) -> Row:
    """The row of a case from a new process, which may not take more memory than is free nor longer than the limit."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["calm.benchmark.cases"])  # so that a process begins with everything imported
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(sender, case, settings), daemon=True)
    process.start()
    sender.close()
    try:
        row = receiver.recv()
    except EOFError:
        process.join()
        late = process.exitcode == -signal.SIGALRM
        ended = f"not done after {settings.limit} s" if late else f"its process ended with status {process.exitcode}"
        row = {"note": f"skipped, {ended}"}
    process.join()
    return row


def answer(sender: Connection, case: Case, settings: Settings) -> None:
    """What the new process does; an alarm ends it, also where its parent was killed."""
    signal.alarm(settings.limit)
    limit_memory()
    warnings.filterwarnings("ignore", message="The `srun` command")  # else every row says so where there is Slurm
    sender.send(measure_here(case, settings))


def limit_memory() -> None:
    """Refuse what goes beyond the free memory, rather than have the system end some process."""
    if sys.platform == "linux":
        free, used = kilobytes("/proc/meminfo", "MemAvailable"), kilobytes("/proc/self/status", "VmData")
        most = int(1024 * (used + SHARE_OF_MEMORY * free))
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def kilobytes(path: str, name: str) -> int:
    """A number that Linux tells of its memory."""
    lines = Path(path).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
