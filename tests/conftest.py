"""Shared set-up: no test draws on a screen, programs are compiled once, and files that take longest begin first."""

import os
import time
from collections import Counter
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # jaxlib 0.10 has a line for each program that it reads
from winit_jax.engine.computing import programs

# What two workers compile on two cores is not cut into pieces; the code is the same.
WHOLE = "--xla_cpu_parallel_codegen_split_count=1"
# Quick tests, and those of a sample of cases, ask whether formulas are right, and most of their time is compiling: LLVM
# leaves their code as it is. `-m slow` by itself runs what users run.
UNOPTIMIZED = "--xla_backend_optimization_level=0"

# Files that take longest, which begin first so that no worker is left alone with one at the end.
LONG = ["test_training_runs", "test_runs", "test_supervision", "test_faults", "test_reference", "test_training"]
# Compiled programs older than this, in days, are thrown away: most are of code that has changed since.
KEPT_DAYS = 3


def pytest_configure(config):
    """Workers, and the processes that tests start, compile a program once for all; `--cache-clear` forgets them."""
    is_quick = config.option.markexpr == "not slow" or "WINIT_CASES" in os.environ
    os.environ.setdefault("XLA_FLAGS", f"{WHOLE} {UNOPTIMIZED}" if is_quick else WHOLE)
    if not hasattr(config, "workerinput") and hasattr(config, "cache"):
        folder = Path(config.cache.mkdir("compiled"))
        forget_old(folder)
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def forget_old(folder):
    for file in folder.iterdir():
        if time.time() - file.stat().st_mtime > KEPT_DAYS * 86_400:
            file.unlink(missing_ok=True)


@pytest.hookimpl(trylast=True)  # after -m
def pytest_collection_modifyitems(config, items):
    """The longest files first. WINIT_CASES=N leaves every Nth of the cases of one test, the first among them."""
    every, counted = int(os.environ.get("WINIT_CASES", "1")), Counter()
    kept, others = [], []
    for item in items:
        test = (item.path, item.originalname)
        (kept if counted[test] % every == 0 else others).append(item)
        counted[test] += 1
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = kept
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_runtest_teardown(item, nextitem):
    """A worker compiles more programs than a process has room for."""
    if nextitem is None or nextitem.path != item.path:
        programs.make_room()
