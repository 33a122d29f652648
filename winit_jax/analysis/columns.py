"""What the columns of the tables are called and what kind of number they hold, for all figures."""

LABELS = {
    "preact_mean": "mean pre-activation",
    "preact_std": "std of pre-activations",
    "act_mean": "mean activation",
    "act_std": "std of activations",
    "act_min": "least activation",
    "act_max": "greatest activation",
    "log10_act_rms": "log₁₀ RMS activation",
    "saturated": "saturated share (of input-unit pairs)",
    "dead": "dead share of units",
    "zero": "share of activations that are 0",
    "unit_similarity": "similarity of units (1: all say the same)",
    "input_correlation": "correlation of inputs (1: all look the same)",
    "input_decorrelation": "1 - correlation of inputs (0: all look the same)",
    "nonfinite": "share of activations not finite",
    "log10_jacobian": "log₁₀ RMS singular value of the Jacobian",
    "theory_log10_act_rms": "log₁₀ RMS activation, mean field",
    "theory_input_correlation": "correlation of inputs, mean field",
    "theory_log10_jacobian": "log₁₀ RMS singular value of the Jacobian, mean field",
    "chi": "χ, growth of a small difference a layer",
    "log10_preact_grad_rms": "log₁₀ RMS gradient of pre-activations",
    "log10_weight_grad_rms": "log₁₀ RMS gradient of weights",
    "log10_preact_grad_growth": "log₁₀ RMS gradient of pre-activations, first layer over last",
    "log10_weight_grad_growth": "log₁₀ RMS gradient of weights, first layer over last",
    "sv_min": "least singular value of the Jacobian",
    "sv_median": "median singular value of the Jacobian",
    "sv_max": "greatest singular value of the Jacobian",
    "sv_mean_square": "mean squared singular value of the Jacobian",
    "sv_var_square": "variance of the squared singular values of the Jacobian",
    "regime": "regime",
    "gain": "gain, std × √fan-in",
    "std": "std of weights",
    "bias_std": "std of biases",
    "norm_epsilon": "epsilon of normalization",
    "depth": "depth (layers)",
    "width": "width (units)",
    "layer": "layer",
    "learning_rate": "learning rate",
    "step": "step",
    "train_loss": "training loss (nats)",
    "train_accuracy": "training accuracy",
    "test_loss": "test loss (nats)",
    "test_accuracy": "test accuracy",
    "log10_grad_norm": "log₁₀ norm of the gradient",
    "diverged_at": "step at which the loss stopped being finite",
    "steps_to_accuracy": "steps to the target accuracy",
}
SHARES = ("saturated", "dead", "zero", "nonfinite")
CORRELATIONS = ("unit_similarity", "input_correlation", "theory_input_correlation")
GROWTHS = (
    "log10_act_rms",
    "log10_jacobian",
    "theory_log10_act_rms",
    "theory_log10_jacobian",
    "log10_preact_grad_growth",
    "log10_weight_grad_growth",
)
# The loss sets their scale, so that 0 means nothing: they are read against another layer.
GRADIENTS = ("log10_preact_grad_rms", "log10_weight_grad_rms")
# Of networks that were trained.
LOSSES = ("train_loss", "test_loss")
ACCURACIES = ("train_accuracy", "test_accuracy")
# Steps, which a network may never come to.
STEPS = ("diverged_at", "steps_to_accuracy")
LEARNT = (*LOSSES, *ACCURACIES, "log10_grad_norm", *STEPS)
