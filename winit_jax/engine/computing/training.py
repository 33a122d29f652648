"""Networks that learn: a part of a training sweep is a batch of them, trained together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from winit_jax.data.datasets import Dataset
from winit_jax.engine.computing.scales import Sizes, places_of, stem
from winit_jax.engine.computing.tables import Learnt
from winit_jax.engine.computing.work import Work
from winit_jax.engine.planning.batches import batch_size
from winit_jax.numerics import meshes
from winit_jax.numerics.activations import activation
from winit_jax.numerics.blocks import BLOCKS, Layout
from winit_jax.numerics.draws import Place
from winit_jax.numerics.halving import Halving
from winit_jax.numerics.normalization import NORMALIZATIONS
from winit_jax.numerics.training import classifier, trainer
from winit_jax.numerics.training.beginning import Trainee
from winit_jax.spec.parts import Job, Part
from winit_jax.spec.sweep import Train
from winit_jax.store.checkpoints import Checkpoint, between, fingerprint
from winit_jax.system.provenance import DECISIVE, versions


@dataclass
class Training:
    """Trains the networks of one sweep. Safe to call from several threads.

    devices: that a batch each is trained on side by side. precision: of matrix products. halving: what fits
    in memory. The data set is brought to each once.
    """

    work: Work
    devices: Sequence[jax.Device]
    precision: str
    halving: Halving = field(default_factory=Halving)
    _data_on_devices: classifier.Data | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def train(
        self,
        part: Part,
        watch: Callable[[float], None],
        checkpoint: Checkpoint | None,
        factors: Sequence[np.ndarray | None],
    ) -> Learnt:
        """What becomes of all networks of a part, in the order of its jobs and their points.

        factors: of each job, what weights are multiplied by that follow from the inputs (`tables.Found`), else None.
        watch: is told now and then which share of the steps is done; it may raise. checkpoint: where the training goes
        on from, and is kept now and then and where `watch` ends it.
        """
        job, train, dataset = part.jobs[0], self._train, self._dataset
        assert job.depth is not None
        trainees, settings = self._trainees(part, factors), self._settings(part)
        of_part = [self.devices[0].device_kind, self.work.sweep.scale_axis]

        def learnt(some: slice) -> list[Any]:
            """The evaluations of some of the networks, and where each diverged, at each step."""
            assert job.depth is not None
            are_all = some == slice(0, len(trainees))
            count = some.stop - some.start
            padded_to = self._compiled_for(count, job.width, job.depth) if are_all else self._dealt_evenly(count)
            belongs_to = self._belongs_to(part, settings, [padded_to, *of_part, *([] if are_all else [some.start])])
            return list(
                trainer.train(
                    trainees[some],
                    self._data(),
                    width=job.width,
                    depth=job.depth,
                    classes=dataset.classes,
                    evaluated=train.evaluated,
                    settings=settings,
                    padded_to=padded_to,
                    between=between(
                        lambda share: watch((some.start + share * count) / len(trainees)),
                        train.steps,
                        checkpoint,
                        belongs_to,
                    ),
                    resumed=None if checkpoint is None else checkpoint.load(belongs_to),
                )
            )

        kind = f"training {job.depth:,} {job.block} layers of width {job.width:,}"
        one = self._mib(job.width, job.depth)
        pieces = self.halving.in_pieces(kind, len(trainees), learnt, lambda count: count * one)
        results = [jax.tree.map(lambda *x: np.concatenate(x), *of_step) for of_step in zip(*pieces, strict=True)]
        evaluations, diverged_at = (
            jax.tree.map(lambda *x: np.stack(x, axis=1), *of_all) for of_all in zip(*results, strict=True)
        )
        return Learnt.of_counts(
            np.array(train.evaluated),
            evaluations._asdict(),
            diverged_at,
            {"train": dataset.y_train.size, "test": dataset.y_test.size},
            train.target_accuracy,
        )

    def together(self, width: int, depth: int) -> int:
        """How many networks of a (width, depth) are trained at once on one device."""
        return trainer.block_size(self._mib(width, depth), self.work.sweep.compute.batch_mib, self.devices[0].platform)

    def together_in_shards(self, width: int, depth: int) -> int:
        """The same where shards are cut: as on a CPU, whatever the device."""
        return trainer.block_size(self._mib(width, depth), self.work.sweep.compute.batch_mib, "cpu")

    def too_large(self) -> str | None:
        """A sentence if the largest network cannot be trained within compute.batch_mib."""
        if self.work.sweep.train is None:
            return None
        grid, budget = self.work.sweep.grid, self.work.sweep.compute.batch_mib
        width, depth = max(grid.width, default=1), max(grid.depth)
        needed = self._mib(width, depth)
        return (
            f"train: a network of {depth:,} layers of {width:,} units needs about {needed:,.0f} MiB in training, and "
            f"compute.batch_mib is {budget:,}: raise it."
            if needed > budget
            else None
        )

    @property
    def _train(self) -> Train:
        assert self.work.sweep.train is not None
        return self.work.sweep.train

    @property
    def _dataset(self) -> Dataset:
        assert self.work.dataset is not None
        return self.work.dataset

    def _trainees(self, part: Part, factors: Sequence[np.ndarray | None]) -> list[Trainee]:
        width, scale_axis = part.jobs[0].width, self.work.sweep.scale_axis
        readout = Place("readout", width, self._dataset.classes, role="readout")
        trainees = []
        for job, of_job in zip(part.jobs, factors, strict=True):
            sizes = Sizes.of(job, self._dataset.features)
            places = (stem(self._dataset.features, width), *places_of(job.block, width), readout)
            axes = ("learning_rate", "norm_epsilon")
            beside = (sizes.skips(job), *(sizes.values(job, axis) for axis in ("branch_scale", "attention_gain")))
            of_axes = (*(sizes.values(job, axis) for axis in axes), *beside)
            for at, (point, *scales) in enumerate(zip(job.points, *(of.tolist() for of in of_axes), strict=True)):
                first, *hidden, last = (sizes.standard_deviation(point, scale_axis, place) for place in places)
                stds = (first, tuple(hidden), last, tuple(sizes.bias_std(point, place) for place in places))
                trainee = replace(Trainee(job.seed, job.shape, *stds, *scales), bias_init=job.bias_init)
                trainees.append(trainee if of_job is None else _multiplied(trainee, of_job[:, at], job))
        return trainees

    def _settings(self, part: Part) -> trainer.Settings:
        job, train = part.jobs[0], self._train
        return trainer.Settings(
            network=classifier.Architecture(
                activation(job.activation),
                NORMALIZATIONS[job.normalization],
                BLOCKS.find(job.block),
                job.norm_position,
                self.precision,
                Layout(self._dataset.positions, self._dataset.grid),
                pools=self._dataset.y_train.ndim == 1,
            ),
            optimizer=train.optimizer,
            options=tuple(sorted(train.optimizer_options.items())),
            batch_size=train.batch_size,
            data_seed=train.seed,
        )

    def _belongs_to(self, part: Part, settings: trainer.Settings, program: list[Any]) -> str:
        """A name for all that decides a training's numbers: a checkpoint of another one is not gone on from."""
        dataset = self._dataset
        sizes = (dataset.features, dataset.classes, len(dataset.x_train), len(dataset.x_test))
        made_with = versions()
        settled = [
            self._train.model_dump(),
            settings.network.precision,
            {name: made_with.get(name) for name in DECISIVE},
        ]
        return fingerprint([part.to_json(), [dataset.sha256, *sizes], program, settled])

    def _mib(self, width: int, depth: int) -> float:
        """Memory that one network of a (width, depth) takes in training."""
        dataset = self._dataset
        sizes = (dataset.features, width, depth, dataset.classes, self._train.batch_size)
        blocks = [BLOCKS.find(name) for name in self.work.sweep.grid.block]
        return max(trainer.training_mib(*sizes, block, dataset.positions) for block in blocks)

    def _compiled_for(self, networks: int, width: int, depth: int) -> int:
        """How many networks a program runs with: those of a whole batch, unless most of them would be padding.

        On several devices each has as many as one by itself would have.
        """
        whole, devices = batch_size(self.work.sweep, self.together(width, depth)), len(self.devices)
        if devices == 1:
            return whole if networks <= whole <= 2 * networks else networks
        of_a_device = whole if whole <= 2 * networks else networks
        return devices * max(of_a_device, -(-networks // devices))

    def _dealt_evenly(self, networks: int) -> int:
        """So many, and as few more as give every device the same number."""
        return len(self.devices) * -(-networks // len(self.devices))

    def _data(self) -> classifier.Data:
        """The data set on the devices of the moment."""
        with self._lock:
            if self._data_on_devices is None:
                # Not device_put on one device, which would commit them to it and have the loop compiled twice.
                arrays = (jnp.asarray(getattr(self._dataset, name)) for name in classifier.Data._fields)
                self._data_on_devices = meshes.put(classifier.Data(*arrays), meshes.current())
            return self._data_on_devices


def _multiplied(trainee: Trainee, factors: np.ndarray, job: Job) -> Trainee:
    """A network whose weights are multiplied by what was found at each place of each row, [rows, places].

    Rows may be more than its own; the readout is as it is drawn.
    """
    assert job.depth is not None
    counts = [len(update.places(job.width)) for update in BLOCKS.find(job.block).updates]
    rows = factors[1 : 1 + len(counts) * (job.depth - 1)].reshape(job.depth - 1, len(counts), factors.shape[-1])
    of_places = np.concatenate([rows[:, at, :count] for at, count in enumerate(counts)], axis=1)
    return replace(trainee, first_std=trainee.first_std * float(factors[0, 0]), factors=of_places)
