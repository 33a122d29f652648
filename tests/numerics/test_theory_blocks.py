"""Every block at infinite width, against published values, plain recursions, quadrature and sampled attention."""

import math

import numpy as np
import pytest

from winit_jax.numerics import theory
from winit_jax.numerics.activations import ACTIVATIONS
from winit_jax.numerics.theory import softmax
from winit_jax.numerics.theory.propagation import Norm, from_inputs, propagate
from winit_jax.numerics.theory.updates import Attention, Conv, Gated, Mlp, Phi, modes

NOTHING = -np.inf
PLAIN = Norm("pre", -math.inf)

# A plain rule for E f(z), z ~ N(0, 1): a fine trapezoid, which shares nothing with the package's quadrature.
Z = np.linspace(-10, 10, 4001)
DENSITY = np.exp(-Z * Z / 2) / np.exp(-Z * Z / 2).sum()

PHIS = {
    "tanh": (np.tanh, lambda a: 1 / np.cosh(a) ** 2),
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0) + 0.5 * (a == 0)),
    "silu": (lambda a: a / (1 + np.exp(-a)), lambda a: (1 + np.exp(-a) + a * np.exp(-a)) / (1 + np.exp(-a)) ** 2),
    "identity": (lambda a: a, np.ones_like),
}


def mean(f, q):
    return float((f(np.sqrt(q) * Z) * DENSITY).sum())


def pair(f, q, c):
    """E f(u1) f(u2), u of variance q and correlation c."""
    z, density = Z[::20], DENSITY[::20] / DENSITY[::20].sum()
    u1 = np.sqrt(q) * z[:, None]
    u2 = np.sqrt(q) * (c * z[:, None] + np.sqrt(1 - c * c) * z)
    return float((f(u1) * f(u2) * density[:, None] * density).sum())


def test_residual_tanh_has_the_values_of_the_field():
    found = propagate(ACTIVATIONS["tanh"], 0.0, NOTHING, 0.0, 0.0, 11, Phi(), 0.0)
    q = 10 ** (2 * found.log10_preact_rms[:, 0])
    np.testing.assert_allclose(q[[1, 2, 10]], [1.3942944904, 1.8492747821, 6.7767983596], rtol=1e-10)
    logs = 2 * math.log(10) * found.log10_jacobian[[1, 2, 10], 0]
    np.testing.assert_allclose(logs, [0.3814475843, 0.7228733533, 2.6432063527], rtol=1e-9)


def test_residual_relu_correlations_have_the_values_of_the_field():
    found = propagate(ACTIVATIONS["relu"], np.log10(2), NOTHING, 0.0, 0.0, 51, Phi(), 0.0)
    np.testing.assert_allclose(found.input_correlation[[10, 50], 0], [0.7075574803, 0.9597043306], atol=1e-10)
    small = propagate(
        ACTIVATIONS["relu"], np.log10(2), NOTHING, 0.0, 0.0, 11, Phi(), 0.0, log10_branch_square=np.log10(0.1)
    )
    assert small.input_correlation[10, 0] == pytest.approx(0.2392526101, abs=1e-10)
    np.testing.assert_allclose(small.log10_preact_rms[10, 0], 5 * np.log10(1.1), rtol=1e-12)


@pytest.mark.parametrize("norm", [theory.UNNORMALIZED, PLAIN])
def test_an_mlp_is_its_recursion(norm):
    inner, outer, bias, last_bias, skip, branch = 1.7, 0.6, 0.3, 0.2, 0.9, 0.8
    found = propagate(
        ACTIVATIONS["tanh"],
        np.log10([[inner], [outer]]),
        np.log10([[bias], [last_bias]]),
        np.log10(1.4),
        0.3,
        4,
        Mlp(4.0),
        2 * np.log10(skip),
        norm,
        log10_branch_square=2 * np.log10(branch),
    )
    phi, slope = PHIS["tanh"]
    q, c, jacobian = 1.4, 0.3, 0.0
    for row in range(4):
        assert found.log10_preact_rms[row, 0] == pytest.approx(0.5 * np.log10(q), abs=1e-10)
        assert found.input_correlation[row, 0] == pytest.approx(c, abs=1e-8)
        assert found.log10_jacobian[row, 0] == pytest.approx(0.5 * np.log10(1.0) + jacobian, abs=1e-10)
        divisor = q if norm is PLAIN else 1.0
        within = inner * q / divisor + bias
        of_c = (inner * q / divisor * c + bias) / within
        second = mean(lambda a: phi(a) ** 2, within)
        if row < 3:
            assert found.log10_act_rms[row + 1, 0] == pytest.approx(0.5 * np.log10(second), abs=1e-10)
        chi = skip**2 + branch**2 * inner * outer * mean(lambda a: slope(a) ** 2, within) / divisor
        assert found.chi[row, 0] == pytest.approx(chi, rel=1e-9)
        jacobian += 0.5 * np.log10(chi)
        following = skip**2 * q + branch**2 * (outer * second + last_bias)
        c = (skip**2 * q * c + branch**2 * (outer * pair(phi, within, of_c) + last_bias)) / following
        q = following
    assert np.isnan(found.log10_act_rms[0, 0])


@pytest.mark.parametrize(
    ("name", "second", "chi"), [("silu", 0.355775519817, 0.735257871450), ("relu", 0.5, 1.0), ("identity", 1.0, 2.0)]
)
def test_a_gate_has_the_values_of_its_activation(name, second, chi):
    found = propagate(ACTIVATIONS[name], 0.0, NOTHING, 0.0, 0.4, 2, Gated(4.0))
    assert 10 ** (2 * found.log10_preact_rms[1, 0]) == pytest.approx(second, rel=1e-10)
    assert found.chi[0, 0] == pytest.approx(chi, rel=1e-10)
    c = 0.4 * pair(PHIS[name][0], 1.0, 0.4) / second
    assert found.input_correlation[1, 0] == pytest.approx(c, abs=2e-4 if name == "relu" else 1e-9)  # the rule's kink


def test_a_gate_with_gains_of_its_own_is_its_recursion():
    gate, up, down, q = 2.0, 0.7, 1.3, 1.9
    found = propagate(
        ACTIVATIONS["tanh"], np.log10([[gate], [up], [down]]), NOTHING, np.log10(q), 0.4, 2, Gated(), -0.2
    )
    phi, slope = PHIS["tanh"]
    second, squares = mean(lambda a: phi(a) ** 2, gate * q), mean(lambda a: slope(a) ** 2, gate * q)
    following = 10**-0.2 * q + down * second * up * q
    assert 10 ** (2 * found.log10_preact_rms[1, 0]) == pytest.approx(following, rel=1e-10)
    assert found.chi[0, 0] == pytest.approx(10**-0.2 + down * (second * up + gate * squares * up * q), rel=1e-10)
    assert found.log10_act_rms[1, 0] == pytest.approx(0.5 * np.log10(second), abs=1e-11)


def test_modes_of_a_circular_kernel():
    np.testing.assert_allclose(modes(3, 8), [1, 0.8047378541, 1 / 3, -0.1380711875, -1 / 3], atol=1e-10)
    np.testing.assert_allclose(modes((3, 3), (8, 8)), np.outer(modes(3, 8), modes(3, 8)))
    kernel = np.zeros(9)
    kernel[[-2, -1, 0, 1, 2]] = 1 / 5
    np.testing.assert_allclose(modes(5, 9), np.fft.fft(kernel).real[:5], atol=1e-12)
    np.testing.assert_array_equal(Conv((3,), (8,)).modes(), modes(3, 8))


def test_a_stationary_convolution_is_the_plain_sum_over_taps():
    """Sigma'(p, p') = g^2 mean_t E[phi phi](Sigma(p + t, p' + t)), with all T x T covariances."""
    positions, taps, gain = 6, 3, 1.5
    distance = np.minimum(np.arange(1, positions), positions - np.arange(1, positions))
    r = 0.7**distance
    found = propagate(
        ACTIVATIONS["tanh"],
        np.log10(gain),
        NOTHING,
        0.0,
        0.2,
        3,
        Conv(taps, positions),
        r1=r[:, None],
        x1=0.2 * r[:, None],
    )
    gap = np.abs(np.subtract.outer(np.arange(positions), np.arange(positions)))
    sigma = 0.7 ** np.minimum(gap, positions - gap)
    for layer in (1, 2):
        q = sigma[0, 0]
        phi = PHIS["tanh"][0]
        mapped = np.array([[pair(phi, q, min(value / q, 1.0)) for value in row] for row in sigma])
        sigma = gain * np.mean([np.roll(mapped, (t, t), axis=(0, 1)) for t in (-1, 0, 1)], axis=0)
        between = (sigma.sum() - np.trace(sigma)) / (positions - 1) / np.trace(sigma)
        assert 10 ** (2 * found.log10_preact_rms[layer, 0]) == pytest.approx(sigma[0, 0], rel=1e-8)
        assert found.position_similarity[layer, 0] == pytest.approx(between, abs=1e-8)


def test_uniform_attention_has_the_values_of_its_recursion():
    found = propagate(
        ACTIVATIONS["relu"], 0.0, NOTHING, 0.0, 0.0, 13, Attention(4, False, 128), 0.0, attention_gain=0.0, r1=0.0
    )
    p = 10 ** (2 * found.log10_preact_rms[:, 0])
    r = p * found.position_similarity[:, 0]
    assert p[12] == pytest.approx(32.9921875, rel=1e-12)
    assert r[12] == pytest.approx(31.9921875, rel=1e-12)
    # A change that is independent in every position grows as the stream does.
    np.testing.assert_allclose(10 ** (2 * found.log10_jacobian[:, 0]), p, rtol=1e-12)


@pytest.mark.parametrize(
    ("positions", "s", "value"), [(2, 1, 0.6368381540), (16, 1, 0.1324522172), (1024, 2, 0.0285382047)]
)
def test_softmaxes_concentrate_as_published(positions, s, value):
    assert softmax.concentration(positions, s)[0] == pytest.approx(value, abs=1e-9)
    assert softmax.agreement(positions, s, 1.0)[0] == pytest.approx(value, abs=1e-9)
    table = 1 / positions + softmax.agreements(positions, np.array([float(s)]), np.ones(1)).lag[0]
    assert table == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("positions", "s", "rho"), [(2, 1.0, 0.5), (5, 1.5, 0.6), (16, 4.0, 0.9), (16, 30.0, 0.95), (4096, 30.0, 1.0)]
)
def test_softmaxes_agree_as_sampled(positions, s, rho):
    rng = np.random.default_rng(0)
    count = 40_000 if positions < 100 else 1000
    x, other = rng.standard_normal((2, count, positions))
    weights = []
    for logits in (x, rho * x + np.sqrt(1 - rho * rho) * other):
        e = np.exp(s * (logits - logits.max(axis=1, keepdims=True)))
        weights.append(e / e.sum(axis=1, keepdims=True))
    a, b = weights
    both = (a * b).sum(axis=1)
    slopes = s * s * (both - (a * a * b).sum(axis=1) - (a * b * b).sum(axis=1) + both**2)
    for found, sampled in zip(softmax.agreement(positions, s, rho), (both, slopes), strict=True):
        assert abs(found - sampled.mean()) < 5 * sampled.std() / np.sqrt(count) + 1e-9


def test_a_softmax_of_two_is_a_logistic_function_of_one_difference():
    for s in (0.3, 2.0, 30.0):
        a = 1 / (1 + np.exp(-np.clip(math.sqrt(2) * s * Z, -700, 700)))
        value = float(((a**2 + (1 - a) ** 2) * DENSITY).sum())
        assert softmax.concentration(2, s)[0] == pytest.approx(value, abs=1e-7)


def test_tables_of_agreements_are_the_integrals():
    rng = np.random.default_rng(2)
    s, apart = rng.uniform(0.05, 2, 12), rng.uniform(0, 1.5, 12) ** 3 / 2
    found = softmax.agreements(12, s, apart)
    for at in range(12):
        value, slope = softmax.agreement(12, s[at], 1 - apart[at])
        assert found.slope[at] == pytest.approx(slope, abs=2e-6)
        assert found.lag[at] == pytest.approx(softmax.concentration(12, s[at])[0] - value, abs=1e-6)


def attention_sampled(rng, u, tangent, gains, heads, attention_gain):
    """One wide attention and its derivative; u: [samples, T, n]."""
    n = u.shape[-1]
    q, k, v, o = (rng.standard_normal((n, n)) * g / np.sqrt(n) for g in gains)

    def split(y):
        return y.reshape(*y.shape[:2], heads, n // heads).transpose(0, 2, 1, 3)

    scale = attention_gain / np.sqrt(n / heads)
    queries, keys, values = (split(u @ w) for w in (q, k, v))
    d_queries, d_keys, d_values = (split(tangent @ w) for w in (q, k, v))
    logits = scale * queries @ keys.swapaxes(-1, -2)
    d_logits = scale * (d_queries @ keys.swapaxes(-1, -2) + queries @ d_keys.swapaxes(-1, -2))
    a = np.exp(logits - logits.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    d_a = a * (d_logits - (a * d_logits).sum(axis=-1, keepdims=True))
    out, d_out = a @ values, d_a @ values + a @ d_values
    return tuple(y.transpose(0, 2, 1, 3).reshape(u.shape) @ o for y in (out, d_out))


def statistics(u):
    """Mean square, c, r and x of [2, T, n], as covariances."""
    positions = u.shape[1]
    own = [sample @ sample.T / u.shape[-1] for sample in u]
    other = u[0] @ u[1].T / u.shape[-1]
    off = ~np.eye(positions, dtype=bool)
    return [np.mean([np.trace(g) for g in own]) / positions, np.trace(other) / positions,
            np.mean([g[off].mean() for g in own]), other[off].mean()]  # fmt: skip


@pytest.mark.slow
def test_wide_random_attention_does_as_predicted():
    """Two layers, so that the change is no longer independent in every position; 5 standard errors and a few 1/n."""
    positions, n, heads, seeds, gain = 6, 512, 16, 24, 1.4
    gains = np.array([1.2, 1.1, 0.9, 1.3])
    covariance = np.full((2, 2, positions, positions), 0.0)
    r, c, x = 0.3, 0.5, 0.2
    for i in range(2):
        for j in range(2):
            same, apart = (1.0, r) if i == j else (c, x)
            covariance[i, j] = apart + (same - apart) * np.eye(positions)
    root = np.linalg.cholesky(covariance.transpose(0, 2, 1, 3).reshape(2 * positions, -1))
    sampled = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        frame = np.linalg.qr(rng.standard_normal((n, 2 * positions)))[0].T * np.sqrt(n)
        u = (root @ frame).reshape(2, positions, n)  # exactly of these covariances
        tangent = rng.standard_normal(u.shape)
        row = []
        for _ in range(2):
            out, d_out = attention_sampled(rng, u, tangent, gains, heads, gain)
            u, tangent = u + 0.7 * out, tangent + 0.7 * d_out
            changed = statistics(tangent)
            row += [*statistics(u), changed[0], changed[2]]
        sampled.append(row)
    found = propagate(
        ACTIVATIONS["relu"], 2 * np.log10(gains)[:, None], NOTHING, 0.0, c, 3, Attention(heads, False, positions), 0.0,
        log10_branch_square=2 * np.log10(0.7), attention_gain=gain, r1=r, x1=x,
    )  # fmt: skip
    p = 10 ** (2 * found.log10_preact_rms[1:, 0])
    predicted = np.stack([p, p * found.input_correlation[1:, 0], p * found.position_similarity[1:, 0],
                          10 ** (2 * found.log10_jacobian[1:, 0])])  # fmt: skip
    sampled = np.array(sampled).reshape(seeds, 2, 6)[:, :, [0, 1, 2, 4]]
    error = sampled.std(axis=0, ddof=1) / np.sqrt(seeds)
    difference = np.abs(sampled.mean(axis=0) - predicted.T)
    assert np.all(difference < 5 * error + np.array([[0.005], [0.02]]) * predicted.T), difference / predicted.T


def test_attention_without_skip_collapses_like_a_cube():
    """Dong et al. 2021, arXiv:2103.03404: 1 - r shrinks to g^2 (T - 1) / T^2 of its cube."""
    found = propagate(
        ACTIVATIONS["relu"], 0.0, NOTHING, 0.0, 0.9, 6, Attention(1, False, 8), NOTHING, PLAIN, r1=0.8, x1=0.75
    )
    logs = np.log(found.position_decorrelation[:, 0])
    np.testing.assert_allclose(np.diff(logs)[2:] / np.diff(logs)[1:-1], 3, atol=0.02)
    np.testing.assert_allclose(logs[3:] - 3 * logs[2:-1], math.log(7 / 64), atol=1e-3)


def test_causal_uniform_attention_has_the_harmonic_numbers():
    arguments = (ACTIVATIONS["relu"], 0.0, NOTHING, 0.0, 0.0)
    found = propagate(*arguments, 2, Attention(1, True, 128), attention_gain=0.0, r1=0.0)
    assert 10 ** found.log10_preact_rms[1, 0] == pytest.approx(0.2060253908, abs=1e-10)
    four = propagate(*arguments, 4, Attention(1, True, 5), 0.0, attention_gain=0.0, r1=0.25)
    rows = np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None]
    c, change = 0.25 + 0.75 * np.eye(5), np.eye(5)
    for layer in range(4):
        off = (c.sum() - np.trace(c)) / 20
        assert 10 ** (2 * four.log10_preact_rms[layer, 0]) == pytest.approx(np.trace(c) / 5, rel=1e-12)
        assert four.position_similarity[layer, 0] == pytest.approx(off / (np.trace(c) / 5), rel=1e-12)
        assert 10 ** (2 * four.log10_jacobian[layer, 0]) == pytest.approx(np.trace(change) / 5, rel=1e-12)
        c, change = (value + rows @ value @ rows.T for value in (c, change))


def test_what_is_unknown_is_nan_and_says_why():
    causal = Attention(2, True, 8)
    found = propagate(ACTIVATIONS["relu"], 0.0, NOTHING, 0.0, 0.0, 3, causal, 0.0, r1=0.0)
    assert np.isnan(found.log10_preact_rms[1:]).all()
    assert "causal" in causal.unknown(1.0)
    assert causal.unknown(0.0) == Attention(2, False, 8).unknown(1.0) == Mlp().unknown() == ""
    with pytest.raises(ValueError, match="r1"):
        propagate(ACTIVATIONS["relu"], 0.0, NOTHING, 0.0, 0.0, 3, Attention(2, False, 8))


def test_a_transformer_is_its_updates_one_after_the_other():
    updates, tanh = [Attention(4, False, 16), Mlp(4.0)], ACTIVATIONS["tanh"]
    attention, mlp = np.log10([[1.0], [1.2], [0.8], [1.1]]), np.log10([[1.5], [0.9]])
    found = propagate(tanh, (attention, mlp), NOTHING, 0.0, 0.3, 3, updates, 0.0, PLAIN, r1=0.1, x1=0.05)
    assert found.chi.shape == (5, 1)
    first = propagate(tanh, attention, NOTHING, 0.0, 0.3, 2, updates[0], 0.0, PLAIN, r1=0.1, x1=0.05)
    log_q, c, r = (first[name][1] for name in (4, 1, 5))
    then = propagate(tanh, mlp, NOTHING, 2 * log_q, c, 2, updates[1], 0.0, PLAIN, r1=r)
    np.testing.assert_allclose(found.log10_preact_rms[2], then.log10_preact_rms[1], rtol=1e-12)
    np.testing.assert_allclose(found.position_similarity[2], then.position_similarity[1], rtol=1e-12)
    np.testing.assert_allclose(found.log10_act_rms[2], then.log10_act_rms[1], rtol=1e-12)
    assert np.isnan(found.log10_act_rms[[0, 1, 3]]).all()


def test_scales_may_differ_from_update_to_update():
    relu, skips = ACTIVATIONS["relu"], np.log10(np.array([[1.0], [0.5], [0.25]]))
    found = propagate(relu, np.log10(2), NOTHING, 0.0, 0.0, 4, Phi(), skips)
    np.testing.assert_allclose(10 ** (2 * np.diff(found.log10_preact_rms[:, 0])), [2, 1.5, 1.25], rtol=1e-12)
    by_layer = np.log10(np.array([2.0, 4.0, 6.0]))[:, None, None]
    grown = propagate(relu, by_layer, NOTHING, 0.0, 0.0, 4)
    np.testing.assert_allclose(10 ** (2 * np.diff(grown.log10_preact_rms[:, 0])), [1, 2, 3], rtol=1e-12)


def test_predictions_from_inputs_with_positions():
    std, gain, bias = np.array([0.3]), np.array([1.2]), np.array([0.5])
    found = from_inputs(
        ACTIVATIONS["tanh"], std, gain, bias, 20.0, 0.4, 2, position_similarity=0.6, cross_similarity=0.1
    )
    assert found.position_similarity[0, 0] == pytest.approx((0.3**2 * 12 + 0.25) / (0.3**2 * 20 + 0.25))


def test_growth_says_which_law_a_stream_follows():
    relu, tanh = ACTIVATIONS["relu"], ACTIVATIONS["tanh"]
    pre = theory.growth(relu, np.log10(3.0), NOTHING, 0.0, 0.0, Phi(), 0.0, PLAIN)
    assert pre.law[0] == "linear"
    assert pre.rate[0] == pytest.approx(1.5, rel=1e-9)
    residual = theory.growth(relu, np.log10(2.0), NOTHING, 0.0, 0.0, Phi(), np.log10(0.81))
    assert residual.law[0] == "geometric"
    assert residual.ratio[0] == pytest.approx(1.81, rel=1e-9)
    settled = theory.growth(tanh, np.log10(1.69), np.log10(0.09), 0.0, 0.0)
    assert settled.law[0] == "fixed point"
    assert 10 ** settled.log10_q[0] == pytest.approx(0.607047, abs=5e-7)
    short = theory.growth(relu, np.log10(3.0), NOTHING, 0.0, 0.0, Mlp(), np.log10(0.5), PLAIN)
    assert (short.law[0], round(10 ** short.log10_q[0], 6)) == ("fixed point", round(4.5 / 0.5, 6))
    dying = theory.growth(relu, 0.0, NOTHING, 0.0, 0.0)
    assert (dying.law[0], round(dying.ratio[0], 9)) == ("vanishing", 0.5)


def test_rms_norm_before_an_mlp_grows_linearly_and_telescopes():
    found = propagate(ACTIVATIONS["relu"], 0.0, NOTHING, np.log10(3.0), 0.0, 30, Mlp(), 0.0, PLAIN)
    p = 3 + 0.5 * np.arange(30)
    np.testing.assert_allclose(10 ** (2 * found.log10_preact_rms[:, 0]), p, rtol=1e-12)
    np.testing.assert_allclose(10 ** (2 * found.log10_jacobian[:, 0]), p / p[0], rtol=1e-12)
