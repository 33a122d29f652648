"""A module of PyTorch, measured at each of its sites for every seed and factor, as two tables."""

import fnmatch
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from winit_jax.columns.formats import FLOAT32
from winit_jax.engine.probe_tables import few, tables_of
from winit_jax.engine.probing import FINGERPRINT_SEED, Asked, directions
from winit_jax.engine.torch_probing.passes import TappedModule, is_lazy
from winit_jax.engine.torch_probing.recording import tensors_in
from winit_jax.errors import Refused, described
from winit_jax.store.probe_folder import Point
from winit_jax.user_code import contained, pass_on

NO_GRADIENT = "Nothing that the module returns has a gradient: log10_grad_rms is NaN."


class TorchProbe:
    """One network of PyTorch, read, and measured for the points that are asked for.

    network: a module, with the parameters that it has, or a function that makes one, which is called for each seed
    after `torch.manual_seed`. inputs: what the module is called with: a tensor, a tuple of arguments, a dict of them.
    Errors: Refused with one sentence where it cannot be called, has no site, or a pattern fits none of its parameters.
    """

    def __init__(self, network: Any, inputs: Any, asked: Asked) -> None:
        if narrow := [name for name in asked.formats if name != FLOAT32]:
            raise Refused(
                "dtype: a module of PyTorch is measured in the types that it has, and rounded to no other. Leave "
                f"{', '.join(narrow)} out; winit_jax.analysis.shares says what a format would lose of its sizes."
            )
        self.asked, self.notes = asked, list[str]()
        self._make = None if isinstance(network, torch.nn.Module) else contained(network, "make")
        if self._make is None and len(set(asked.seeds)) > 1:
            raise Refused("A module has the parameters that it has: for several seeds give a function that makes it.")
        self.inputs = replaced_arrays(inputs)
        if not all(tensor.numel() for tensor in tensors_in(self.inputs)):
            raise Refused("The inputs hold no numbers: there is nothing to measure.")
        self._module = self._made(asked.seeds[0]) if self._make else unwrapped(network)
        self._module_seed = asked.seeds[0]
        with self._calling(asked.seeds[0]):
            if is_lazy(self._module):
                self._module(*self.inputs if isinstance(self.inputs, tuple) else (self.inputs,))
            self.tapped = TappedModule(self._module, self.inputs, asked.threshold)
        for word in dict.fromkeys(self.tapped.survey.fused):
            self.notes.append(f"{word} is one step to PyTorch: what goes on in it is not measured.")
        if not self.tapped.sites:
            why = " ".join(self.notes)
            raise Refused(f"The module has no contraction of its inputs: there is nothing to measure. {why}".rstrip())
        parameters = dict(self._module.named_parameters())
        self.shapes = {path: tuple(leaf.shape) for path, leaf in parameters.items()}
        self._fits = []
        for pattern in asked.factors:
            fits = [path for path in parameters if fnmatch.fnmatchcase(path, pattern)]
            if not fits:
                raise Refused(f"scale.{pattern}: no parameter has such a path. Known: {few(list(parameters))}.")
            self._fits.append(fits)

    @property
    def factor_columns(self) -> list[str]:
        return [f"scale.{pattern}" for pattern in self.asked.factors]

    @property
    def fingerprint(self) -> str:
        """What tells this module, its inputs and how it is measured from others, as a SHA-256: of its calls, its sites,
        the inputs, and the parameters and buffers of one seed."""
        what = (self.tapped.words, self.tapped.sites, self.asked.gradients, self.factor_columns)
        digest = hashlib.sha256(f"torch\n{what}".encode())
        module = self._of_seed(FINGERPRINT_SEED)
        for tensor in (*tensors_in(self.inputs), *module.state_dict().values()):
            if isinstance(tensor, torch.Tensor):
                numbers = tensor.detach().cpu().contiguous().reshape(-1)
                digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode() + numbers.view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def parts(self, points: Sequence[Point] | None = None) -> Iterator[tuple[Point, dict[str, pa.Table]]]:
        """(A point, `sites` and `parameters` of its network) of each of the points, all that are asked for by default.

        Errors: Refused where the module cannot be called, with its own words.
        """
        for point in self.asked.points if points is None else points:
            seed, factors = point.seed, point.factors
            module = self._of_seed(seed)
            along = (lambda number, shape, seed=seed: directions(seed, number, shape)) if self.asked.gradients else None
            with self._calling(seed):
                measured = self.tapped.measured(module, self._scaled(module, factors), along)
            if self.tapped.has_no_gradient and NO_GRADIENT not in self.notes:
                self.notes.append(NO_GRADIENT)
            found = tables_of(self.tapped.sites, self.tapped.uses, self.shapes, measured, point, self.factor_columns)
            yield point, found

    def _of_seed(self, seed: int) -> torch.nn.Module:
        if self._make is not None and seed != self._module_seed:
            self._module, self._module_seed = self._made(seed), seed
        return self._module

    def _made(self, seed: int) -> torch.nn.Module:
        assert self._make is not None
        with _seeded(seed):
            try:
                made = self._make()
            except BaseException as error:
                pass_on(error)
                raise Refused(f"make() failed: {described(error)}") from error
        if not isinstance(made, torch.nn.Module):
            raise Refused(f"make() has to return a torch.nn.Module; it returned {type(made).__name__}.")
        return unwrapped(made)

    def _scaled(self, module: torch.nn.Module, factors: Sequence[float]) -> dict[str, torch.Tensor]:
        parameters = dict(module.named_parameters())
        scaled: dict[str, torch.Tensor] = {}
        for fits, factor in zip(self._fits, factors, strict=True):
            for path in fits:
                leaf = (scaled[path] if path in scaled else parameters[path]).detach() * factor
                scaled[path] = leaf.requires_grad_(parameters[path].requires_grad)
        return scaled

    @contextmanager
    def _calling(self, seed: int) -> Iterator[None]:
        with _seeded(seed):
            try:
                yield
            except Refused:
                raise
            except BaseException as error:
                pass_on(error)
                raise Refused(f"The module cannot be called with these inputs: {described(error)}") from error


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed, and those of the caller go on afterwards as if none had been drawn."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The module that was compiled, or is called on several devices: itself is measured, on one."""
    while True:
        if hasattr(module, "_orig_mod"):
            module = module._orig_mod
        elif isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            module = module.module
        else:
            return module


def replaced_arrays(inputs: Any) -> Any:
    """NumPy arrays among inputs as tensors."""
    if isinstance(inputs, np.ndarray):
        return torch.from_numpy(inputs)
    if isinstance(inputs, tuple | list):
        return type(inputs)(map(replaced_arrays, inputs))
    return inputs
