"""A module called with a tap at each of its sites: one pass forward, one back, nothing kept whole."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from winit_jax.engine.torch_probing.recording import (
    Calls,
    Made,
    Record,
    check_same,
    scopes_of,
    tensors_in,
)
from winit_jax.engine.torch_probing.statistics import (
    Sums,
    as_arrays,
    attention_entropy,
    no_gradient,
    squares_of_gradient,
    sums_of,
    sums_of_phi,
)
from winit_jax.engine.torch_probing.survey import Survey, Surveyor, Tap
from winit_jax.numerics.tapping.sites import Site, Use
from winit_jax.numerics.tapping.statistics import Columns, columns_of_site, columns_of_weights, log10_of_gradient

# [rows, n] random unit directions of an output, from its number among all outputs and its shape.
Directions = Callable[[int, tuple[int, ...]], np.ndarray]


class TappedModule:
    """A module of PyTorch, read and ready to be measured.

    module: whose calls are recorded here once; others of the same kind can be measured by what was read. inputs: what
    it is called with, a tensor, a tuple of arguments or a dict of them. threshold: of saturation.
    sites: in the order of the computation. uses: of each parameter, by its path. has_no_gradient: whether one was asked
    for, and nothing that the module returned has any.
    Errors: what calling the module raises.
    """

    def __init__(self, module: torch.nn.Module, inputs: Any, threshold: float = 0.05) -> None:
        self.inputs, self.threshold, self.has_no_gradient = inputs, threshold, False
        given = tensors_in(inputs)
        self.samples = next((tensor.shape[0] for tensor in given if tensor.ndim), 0)
        with scopes_of(module) as scope:
            record = Record(dict(module.named_parameters()), given, scope)
            with record:
                out = self._called(module, {})
        self.words = [call.word for call in record.calls]
        self.survey: Survey = Surveyor(record.calls, [record.value_of(tensor) for tensor in tensors_in(out)]).read()

    @property
    def sites(self) -> list[Site]:
        return self.survey.sites

    @property
    def uses(self) -> dict[str, Use]:
        return dict(self.survey.uses)

    def _called(self, module: torch.nn.Module, parameters: Mapping[str, torch.Tensor]) -> Any:
        """The module's answer with other parameters by their paths, and with copies of its buffers."""
        buffers = {path: buffer.detach().clone() for path, buffer in module.named_buffers()}
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(self.inputs, Mapping):
            kwargs = dict(self.inputs)
        else:
            args = tuple(self.inputs) if isinstance(self.inputs, tuple | list) else (self.inputs,)
        return torch.func.functional_call(module, {**buffers, **parameters}, args, kwargs)

    def measured(
        self, module: torch.nn.Module, parameters: Mapping[str, torch.Tensor], directions: Directions | None
    ) -> tuple[dict[str, Columns], dict[str, Columns]]:
        """(The columns of each site by its key, those of each parameter that is floats by its path).

        parameters: in the place of the module's own, by their paths. directions: of the loss; None for no way back.
        Errors: Refused where the module makes other calls than were recorded; what calling it raises.
        """
        leaves = {**dict(module.named_parameters()), **parameters}
        floats = {path: leaf for path, leaf in leaves.items() if leaf.is_floating_point() and leaf.numel()}
        measuring = _Measuring(self, directions is not None)
        gradients: dict[str, torch.Tensor] = {}
        with measuring, torch.enable_grad() if directions else torch.no_grad():
            out = self._called(module, parameters)
        measuring.check_end()
        if directions is not None:
            loss = _loss_of(out, directions)
            if loss.requires_grad:
                # What a checkpoint computes again is computed in the same steps.
                with _gradients_into(floats, gradients), Calls():
                    torch.autograd.backward(loss)
            else:
                self.has_no_gradient = True
        sites = {
            site.key: columns_of_site(site, as_arrays(measuring.sums[site.key]), self.samples) for site in self.sites
        }
        of_parameters = {}
        for path, leaf in floats.items():
            wide = torch.float64 if leaf.dtype == torch.float64 else torch.float32
            of_parameters[path] = columns_of_weights(leaf.detach().to(wide).cpu().numpy())
            if path in gradients:
                (squares,) = as_arrays({"gradient": gradients[path]}).values()
                of_parameters[path]["log10_grad_rms"] = log10_of_gradient(squares)
        return sites, of_parameters


class _Measuring(Calls):
    """Takes the sums at each tap, and hangs on it what takes those of its gradient."""

    def __init__(self, tapped: TappedModule, gradients: bool) -> None:
        super().__init__()
        self.tapped, self.gradients = tapped, gradients
        self.sums: dict[str, Sums] = {}
        self._flat: dict[str, Sums] = {}

    def before(self, number: int, word: str, given: list[torch.Tensor]) -> None:
        check_same(self.tapped.words, number, word)
        for argument in self.tapped.survey.arguments.get(number, ()):
            known, site = argument.known, argument.site
            u = given[argument.given].detach()
            self._flat[site.key] = sums_of_phi(u, known.phi, known.max_slope, site.units, self.tapped.threshold)

    def after(self, made: Made) -> None:
        for tap in self.tapped.survey.taps.get(made.number, ()):
            self._read(tap, made.outs[tap.out])

    def _read(self, tap: Tap, value: torch.Tensor) -> None:
        site, samples = tap.site, self.tapped.samples
        with torch.no_grad():
            x = value.detach()
            is_of_samples = x.shape[0] == samples and 0 not in site.units
            sums = sums_of(x, site.units, samples if is_of_samples else 0)
            if site.kind == "softmax":
                sums |= attention_entropy(x.movedim(site.units[0], -1))
        sums |= self._flat.pop(site.key, {})
        self.sums[site.key] = sums | {"executed": torch.ones(())}
        if self.gradients and value.requires_grad:
            self.sums[site.key]["gradient"] = no_gradient()
            value.register_hook(lambda gradient: self._note(site.key, gradient))

    def _note(self, key: str, gradient: torch.Tensor) -> None:
        self.sums[key]["gradient"] = squares_of_gradient(gradient)

    def check_end(self) -> None:
        check_same([*self.tapped.words, "its end"], self.number, "its end")


@contextmanager
def _gradients_into(leaves: Mapping[str, torch.Tensor], found: dict[str, torch.Tensor]) -> Iterator[None]:
    """What comes back to parameters is measured and let go; gradients that they have stay as they are."""
    before = {path: leaf.grad for path, leaf in leaves.items() if leaf.requires_grad}
    handles = []
    for path in before:
        found[path] = no_gradient()

        def note(leaf: torch.Tensor, path: str = path) -> None:
            assert leaf.grad is not None
            found[path] = squares_of_gradient(leaf.grad)
            leaf.grad = None

        leaves[path].grad = None
        handles.append(leaves[path].register_post_accumulate_grad_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for path, gradient in before.items():
            leaves[path].grad = gradient


def _loss_of(out: Any, directions: Directions) -> torch.Tensor:
    """As `numerics.tapping.passes.loss_of`: the module's own number, else a mean over samples of <c_i, out_i>."""
    leaves = [tensor for tensor in tensors_in(out) if tensor.is_floating_point()]
    if len(leaves) == 1 and not leaves[0].shape:
        return leaves[0].float()
    total = torch.zeros(())
    for number, leaf in enumerate(leaves):
        rows = leaf.float().reshape(leaf.shape[0] if leaf.ndim else 1, -1)
        along = torch.tensor(directions(number, tuple(rows.shape)), device=rows.device)
        total = total.to(rows.device) + (rows * along).sum() / rows.shape[0]
    return total


def is_lazy(module: torch.nn.Module) -> bool:
    """Whether some of its parameters get their shapes when it is first called."""
    return any(torch.nn.parameter.is_lazy(parameter) for parameter in module.parameters())
