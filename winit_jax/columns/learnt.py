"""Columns of networks that were trained."""

from winit_jax.columns.records import Column

BOTH = ("networks", "training")

STEP = Column(
    "step",
    "In `training`: updates so far; 0 is before training, then every `train.eval_every`, then the last.",
    ("training",),
    role="row",
    holds=int,
)
_LOSS, _ACCURACY = "The mean cross-entropy in nats over all", "The share of right answers, as counted, over all"
_TIES = "ties going to the first class"

LEARNT = (
    Column(
        "train_loss",
        f"{_LOSS} training samples.",
        BOTH,
        role="learnt",
        kind="loss",
        label="training loss",
        unit="nats",
        needs=("training",),
    ),
    Column(
        "train_accuracy",
        f"{_ACCURACY} training samples, {_TIES}.",
        BOTH,
        role="learnt",
        kind="accuracy",
        label="training accuracy",
        needs=("training",),
    ),
    Column(
        "test_loss",
        f"{_LOSS} test samples.",
        BOTH,
        role="learnt",
        kind="loss",
        unit="nats",
        needs=("training",),
    ),
    Column(
        "test_accuracy",
        f"{_ACCURACY} test samples, {_TIES}.",
        BOTH,
        role="learnt",
        kind="accuracy",
        needs=("training",),
    ),
    Column(
        "log10_grad_norm",
        "log10 of the L2 norm of the gradient of all parameters together, on the minibatch to come.",
        BOTH,
        role="learnt",
        kind="gradient",
        label="log₁₀ norm of the gradient",
        needs=("training",),
    ),
    # In `networks` unit_similarity is that before training, as every column that is measured. A sweep without [train]
    # has no table `training`.
    Column(
        "unit_similarity",
        "In `training`: of the last hidden layer on the first 500 training samples.",
        ("training",),
        role="learnt",
        kind="correlation",
        label="similarity of units (1: all say the same)",
        needs=("units",),
    ),
    Column(
        "diverged_at",
        "In `networks`: the first step at which a minibatch's or an evaluation's loss is not finite, null if none; "
        "from then on the columns above are NaN. A mean that leaves them out flatters the sweep: the figures count "
        "them as guesses and their losses as infinite.",
        ("networks",),
        role="learnt",
        kind="step",
        holds=int,
        nullable=True,
        label="step at which the loss stopped being finite",
        needs=("training",),
    ),
    Column(
        "steps_to_accuracy",
        "In `networks`: the first evaluated step at which `test_accuracy` reaches `train.target_accuracy`, null if "
        "none.",
        ("networks",),
        role="learnt",
        kind="step",
        holds=int,
        nullable=True,
        label="steps to the target accuracy",
        needs=("training",),
    ),
)
