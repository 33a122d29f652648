"""Probes of PyTorch modules: against the same networks in JAX, what is known again, what is left as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import winit_jax as winit

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from support import torch_nets as nets  # noqa: E402
from winit_jax.engine.torch_probing.operations import attention  # noqa: E402
from winit_jax.engine.torch_probing.statistics import sums_of  # noqa: E402
from winit_jax.numerics.tapping.statistics import columns_of  # noqa: E402

OF_SITES = (
    "op", "kind", "order", "shape", "fan_in", "fan_out", "mean", "std", "log10_rms", "log10_grad_rms", "kurtosis",
    "zero", "nonfinite", "saturated", "dead", "unit_similarity", "input_correlation", "effective_rank",
    "attention_entropy",
)  # fmt: skip
OF_PARAMETERS = (
    "fan_in", "fan_out", "used", "read", "mean", "std", "min", "max", "gain", "log10_rms", "kurtosis", "max_over_std",
    "zero", "nonfinite", "log10_grad_rms", "law",
)  # fmt: skip


def array(tensor):
    return jnp.asarray(tensor.detach().numpy())


def check_same(of_torch, of_jax, paths, columns=OF_SITES):
    """Columns to 1e-5; paths: of a module's parameters -> of JAX's."""
    for name in columns:
        ours, theirs = of_torch.sites[name], of_jax.sites[name]
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            assert list(ours) == list(theirs), name
    ours = of_torch.parameters.set_index("path").loc[list(paths)]
    theirs = of_jax.parameters.set_index("path").loc[list(paths.values())]
    for name in OF_PARAMETERS:
        if ours[name].dtype.kind == "f":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            assert list(ours[name]) == list(theirs[name]), name


@pytest.mark.slow
def test_a_perceptron_has_the_columns_that_it_has_in_jax():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.Tanh(), nn.Linear(64, 10))
    params = [{"w": array(layer.weight).T, "b": array(layer.bias)} for layer in module if isinstance(layer, nn.Linear)]

    def apply(params, x):
        x = jax.nn.relu(x @ params[0]["w"] + params[0]["b"])
        x = jnp.tanh(x @ params[1]["w"] + params[1]["b"])
        return x @ params[2]["w"] + params[2]["b"]

    paths = {f"{2 * i}.{name}": f"{i}.{name[0]}" for i in range(3) for name in ("weight", "bias")}
    check_same(winit.probe(module, inputs=nets.X), winit.probe(apply, params, array(nets.X)), paths)


@pytest.mark.slow
def test_a_convolutional_network_has_the_columns_that_it_has_in_jax():
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=2),
        nn.SiLU(), nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip
    params = [{"w": array(module[i].weight), "b": array(module[i].bias)} for i in (0, 2, 5)]

    def convolved(x, layer, **options):
        numbers = {"dimension_numbers": ("NCHW", "OIHW", "NCHW"), "padding": ((1, 1), (1, 1))}
        return jax.lax.conv_general_dilated(x, layer["w"], **numbers, **options) + layer["b"][:, None, None]

    def apply(params, x):
        x = jax.nn.relu(convolved(x, params[0], window_strides=(1, 1)))
        x = jax.nn.silu(convolved(x, params[1], window_strides=(2, 2), feature_group_count=2))
        return x.reshape(len(x), -1) @ params[2]["w"].T + params[2]["b"]

    paths = {
        f"{i}.{name}": f"{n}.{own}" for n, i in enumerate((0, 2, 5)) for name, own in (("weight", "w"), ("bias", "b"))
    }
    check_same(winit.probe(module, inputs=nets.IMAGES), winit.probe(apply, params, array(nets.IMAGES)), paths)


@pytest.mark.slow
def test_a_transformer_block_has_the_columns_that_it_has_in_jax():
    torch.manual_seed(0)
    module = nets.Block(0.1)
    params = {path: array(parameter) for path, parameter in module.named_parameters()}

    def norm(x, name, params):
        y = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        return y * params[f"{name}.weight"] + params[f"{name}.bias"]

    def dense(x, name, params):
        return x @ params[f"{name}.weight"].T + params[f"{name}.bias"]

    def apply(params, x):
        qkv = jnp.split(dense(norm(x, "norm1", params), "qkv", params), 3, axis=-1)
        q, k, v = (part.reshape(*x.shape[:2], 4, -1).swapaxes(1, 2) for part in qkv)
        logits = q @ k.swapaxes(2, 3) * q.shape[-1] ** -0.5
        mask = jnp.tril(jnp.ones(logits.shape[-2:], bool))
        mixed = jax.nn.softmax(jnp.where(mask, logits, -jnp.inf), axis=-1) @ v
        x = x + dense(mixed.swapaxes(1, 2).reshape(x.shape), "out", params)
        up = dense(norm(x, "norm2", params), "up", params)
        return x + dense(jax.nn.gelu(up, approximate=False), "down", params)

    paths = {path: path for path in params}
    check_same(winit.probe(module, inputs=nets.SEQUENCES), winit.probe(apply, params, array(nets.SEQUENCES)), paths)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e30])
def test_the_columns_of_a_tensor_are_those_of_their_definitions_in_float64(scale):
    x = np.asarray(nets.inputs(6, 5, 7) + 0.5, np.float64).transpose(0, 2, 1) * scale
    x[0, :2] = 0
    given = torch.tensor(x.transpose(0, 2, 1), dtype=torch.float32)
    found = columns_of({k: v.numpy() for k, v in sums_of(given, (1,), 6).items()}, 5, 6)
    rows = np.asarray(given.double()).transpose(0, 2, 1).reshape(-1, 5)
    singular = np.linalg.svd(rows / scale, compute_uv=False)
    squares = np.sum(rows**2)
    of_samples = rows.reshape(6, -1).sum(0)
    expected = {
        "mean": rows.mean(),
        "std": rows.std(),
        "log10_rms": np.log10(np.sqrt(np.mean((rows / scale) ** 2))) + np.log10(scale),
        "kurtosis": np.mean(((rows - rows.mean()) / rows.std()) ** 4),
        "zero": 10 / 210,
        "nonfinite": 0.0,
        "unit_similarity": (np.sum(rows.sum(1) ** 2) - squares) / (4 * squares),
        "input_correlation": (np.sum(of_samples**2) - squares) / (5 * squares),
        "effective_rank": np.sum(singular**2) ** 2 / np.sum(singular**4),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)


def written_out_selu(x):
    return 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * (x.exp() - 1))


# (The word of tables, the function).
PHIS = (
    ("relu", F.relu),
    ("gelu", F.gelu),
    ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")),
    ("silu", lambda x: x * x.sigmoid()),
    ("leaky_relu", lambda x: F.leaky_relu(x, 0.2)),
    ("leaky_relu", nn.PReLU()),
    ("mish", lambda x: x * torch.tanh(F.softplus(x))),
    ("selu", written_out_selu),
    ("sin", lambda x: torch.sin(x)),
    ("tanh", lambda x: 2 * torch.sigmoid(2 * x) - 1),
    ("relu6", nn.ReLU6(inplace=True)),
    ("hard_swish", F.hardswish),
    ("atan", torch.atan),
)


class Through(nn.Module):
    def __init__(self, phi):
        super().__init__()
        self.first, self.phi, self.last = nn.Linear(16, 16), phi, nn.Linear(16, 16)

    def forward(self, x):
        return self.last(self.phi(self.first(x)))


@pytest.mark.parametrize(("name", "phi"), PHIS)
def test_elementwise_functions_are_known_by_what_they_compute(name, phi):
    torch.manual_seed(0)
    module = Through(phi)
    x = nets.inputs(20, 16)
    sites = winit.probe(module, inputs=x).sites
    assert list(sites["op"]) == ["dot_general", name, "dot_general"]
    assert list(sites["follows"]) == ["", "first", ""]
    u = module.first(x).detach().double().requires_grad_()
    phi = phi.double() if isinstance(phi, nn.Module) else phi
    (slopes,) = torch.autograd.grad(phi(u.clone()).sum(), u)
    grid = torch.linspace(-50, 50, 200_001, dtype=torch.float64, requires_grad=True)
    (most,) = torch.autograd.grad(phi(grid.clone()).sum(), grid)
    flat = slopes.abs() < 0.05 * most.abs().max()
    np.testing.assert_allclose(sites["saturated"][1], flat.double().mean(), atol=1e-9)
    np.testing.assert_allclose(sites["dead"][1], flat.all(0).double().mean(), atol=1e-9)


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": "bool"}, {"attn_mask": "float"}, {"enable_gqa": True}],
    ids=str,
)
def test_attention_in_steps_is_pytorchs(options):
    q, k, v = (nets.inputs(2, 4, 6, 8, seed=seed) for seed in range(3))
    options = dict(options)
    if options.get("enable_gqa"):
        k, v = k[:, :2], v[:, :2]
    if "attn_mask" in options:
        seen = torch.ones(6, 6, dtype=torch.bool).tril(2)
        is_bool = options["attn_mask"] == "bool"
        options["attn_mask"] = seen if is_bool else torch.zeros(6, 6).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(attention(q, k, v, **options), F.scaled_dot_product_attention(q, k, v, **options))


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_is_seen_inside(need_weights):
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(64, 4, batch_first=True)

        def forward(self, x):
            mask = nn.Transformer.generate_square_subsequent_mask(16)
            return self.attention(x, x, x, attn_mask=mask, need_weights=need_weights)[0]

    found = winit.probe(Attends, inputs=nets.SEQUENCES)
    assert list(found.sites["op"]) == ["dot_general", "dot_general", "softmax", "dot_general", "dot_general"]
    assert list(found.sites["parameter"]) == ["attention.in_proj_weight", "", "", "", "attention.out_proj.weight"]
    assert list(found.sites["site"])[-1] == "attention.out_proj"
    assert (found.sites["nonfinite"] == 0).all()
    assert found.sites["log10_grad_rms"].notna().all()
    laws = found.parameters.set_index("path")["law"]
    assert laws["attention.in_proj_weight"] == "xavier_uniform"
    assert found.audit() == []


def test_an_equation_and_a_plain_product_have_the_fans_of_their_use():
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.Parameter(torch.randn(64, 4, 8) / 8)
            self.out = nn.Parameter(torch.randn(4, 8, 10) / 32**0.5)
            self.left = nn.Parameter(torch.randn(5, 16) / 4)

        def forward(self, x):
            x = torch.einsum("bti,ihd->bthd", x, self.heads)
            return self.left @ torch.einsum("...hd,hdo->...o", x, self.out)

    found = winit.probe(Products, inputs=nets.SEQUENCES)
    assert list(zip(found.sites["fan_in"], found.sites["fan_out"], strict=True)) == [(64, 32), (32, 10), (16, 5)]
    assert found.parameters["law"][0] == "lecun_normal"


def test_a_probe_leaves_the_module_as_it_was():
    torch.manual_seed(3)
    module = nets.resnet()
    module(nets.IMAGES).sum().backward()
    before = {path: value.clone() for path, value in module.state_dict().items()}
    gradients = {path: p.grad for path, p in module.named_parameters()}
    copies = {path: gradient.clone() for path, gradient in gradients.items()}
    state, x = torch.get_rng_state(), nets.IMAGES.clone()
    found = winit.probe(module, inputs=x, scale={"*.conv1.weight": 2.0})
    assert (torch.get_rng_state() == state).all()
    assert (x == nets.IMAGES).all()
    assert all((value == before[path]).all() for path, value in module.state_dict().items())
    for path, parameter in module.named_parameters():
        assert parameter.grad is gradients[path]
        assert (parameter.grad == copies[path]).all()
    assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
    std = found.parameters.set_index("path")["std"]["4.conv1.weight"]
    np.testing.assert_allclose(std, 2 * before["4.conv1.weight"].std(correction=0), rtol=1e-5)


def test_gradients_are_those_of_a_backward_pass():
    """Of the module's own number, where it returns one, with a module used twice."""

    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x, y=None):
            return F.mse_loss(torch.tanh(self.layer(torch.tanh(self.layer(x)))), y)

    torch.manual_seed(0)
    module = Loss()
    y = nets.inputs(50, 64, seed=5)
    found = winit.probe(module, inputs={"x": nets.X, "y": y})
    a = module.layer(nets.X)
    b = module.layer(torch.tanh(a))
    loss = F.mse_loss(torch.tanh(b), y)
    of_a, of_b, of_weights = torch.autograd.grad(loss, (a, b, module.layer.weight))
    sites = found.sites[found.sites["kind"] == "contraction"]
    assert list(sites["site"]) == ["layer", "layer#2"]
    expected = [0.5 * np.log10(float(g.double().square().mean())) for g in (of_a, of_b)]
    np.testing.assert_allclose(sites["log10_grad_rms"], expected, atol=1e-5)
    of_layer = found.parameters.set_index("path").loc["layer.weight"]
    np.testing.assert_allclose(
        of_layer["log10_grad_rms"], np.log10(float(of_weights.square().mean().sqrt())), atol=1e-5
    )
    assert of_layer["used"] == 2


def test_without_gradients_none_are_taken():
    found = winit.probe(nets.frozen, inputs=nets.X, gradients=False)
    assert found.sites["log10_grad_rms"].isna().all()
    assert found.parameters["log10_grad_rms"].isna().all()


def test_a_frozen_layer_has_no_gradient_and_is_not_blamed():
    found = winit.probe(nets.frozen, inputs=nets.X)
    assert found.parameters.set_index("path")["log10_grad_rms"].isna().sum() == 2
    assert found.audit() == []


def test_what_is_one_step_to_pytorch_is_told():
    found = winit.probe(nets.Recurrent, inputs=nets.TOKENS)
    assert found.notes == ["lstm is one step to PyTorch: what goes on in it is not measured."]
    assert (found.parameters["read"] == 1).all()


def test_seeds_and_factors_are_axes_and_folders_are_gone_on_with(tmp_path):
    make, x = nets.SOUND["he_relu"]
    found = winit.probe(make, inputs=x, seed=[0, 1], scale={"*.weight": [1, 2]}, out=tmp_path / "kept")
    key = "scale.*.weight"
    assert len(found.sites) == 4 * 7
    last = found.sites[found.sites["site"] == "6"].set_index(["seed", key])["log10_rms"]
    np.testing.assert_allclose(last.xs(2.0, level=key) - last.xs(1.0, level=key), 4 * np.log10(2), atol=1e-5)
    torch.manual_seed(1)
    alone = winit.probe(make(), inputs=x, seed=1).sites
    same = found.sites[(found.sites["seed"] == 1) & (found.sites[key] == 1)].drop(columns=key).reset_index(drop=True)
    pd.testing.assert_frame_equal(same, alone, rtol=1e-5)
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").glob("*/*.parquet")}
    again = winit.probe(make, inputs=x, seed=[1, 2], scale={"*.weight": [1, 2]}, out=tmp_path / "kept")
    assert all(file.stat().st_mtime_ns == at for file, at in files.items())
    assert sorted(set(again.sites["seed"])) == [1, 2]
    for other in (lambda: nets.he(nets.mlp(nn.Tanh)), lambda: nets.changed(make(), lambda m: m[0].weight.mul_(2))):
        with pytest.raises(winit.Refused, match="is of another network or of other inputs"):
            winit.probe(other, inputs=x, scale={"*.weight": [1, 2]}, out=tmp_path / "kept")
