"""What figures call columns and what kind of number each holds, from the records of `winit_jax.columns`."""

from winit_jax import columns

LABELS = columns.words_of()
SHARES = columns.of_kind("share")
CORRELATIONS = columns.of_kind("correlation")
GROWTHS = columns.of_kind("growth")
FACTORS = columns.of_kind("factor")
GRADIENTS = columns.of_kind("gradient")
LOSSES = columns.of_kind("loss")
ACCURACIES = columns.of_kind("accuracy")
STEPS = columns.of_kind("step")
# What regimes are told by.
OF_REGIMES = ("nonfinite", "log10_act_rms", "saturated", "log10_jacobian", "input_correlation", "unit_similarity")
# Of networks that were trained.
LEARNT = columns.LEARNT
