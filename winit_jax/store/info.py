"""run.json, which says how a run went: read and checked, or a sentence about why it cannot be read."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winit_jax.spec.parts import Job
from winit_jax.system import disk

MAX_BYTES = 256 << 20


class Failure(BaseModel):
    """A job that failed. part: the stem of its part. networks: the job. reason: one sentence."""

    model_config = ConfigDict(extra="allow")
    part: str
    networks: Job
    reason: str


class Source(BaseModel):
    """Data that a run read. source: its name or path. sha256: of its contents. classes: number of its labels."""

    model_config = ConfigDict(extra="allow")
    source: str
    sha256: str
    classes: Annotated[int, Field(ge=2)] | None = None


class Read(BaseModel):
    """What sweep.toml asks for, as the process read it that wrote run.json: whoever only looks need not know the words
    of a sweep, and so need not import JAX. sha256: of sweep.toml then; of another file this says nothing. networks,
    grid, settings: as of `asked.Short`.
    """

    sha256: str
    networks: Annotated[int, Field(ge=0)]
    grid: str
    settings: str


class Info(BaseModel):
    """What run.json says of a run beside its tables; keys that are not named here are kept as they are.

    state: where the last process left the run. seconds: time that the run took. self_check: its sentences.
    failures: jobs that failed. inputs, train: the data read. made_by: the environments that parts were made with.
    asks: for what sweep.toml asks, None in files of before it was written down.
    """

    model_config = ConfigDict(extra="allow")
    state: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    self_check: list[str] = []
    failures: list[Failure] = []
    inputs: dict[str, Source] = {}
    train: Source | None = None
    made_by: list[dict[str, Any]] = []
    asks: Read | None = None


def read_info(path: Path) -> tuple[Info, str]:
    """(What run.json says, a sentence about why it cannot be read). Only one of the two holds anything.

    Errors: none; both are empty where there is no file.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            return Info(), f"{path} is too large to be read."
        return Info.model_validate_json(disk.read(path)), ""
    except FileNotFoundError:
        return Info(), f"{path} leads nowhere." if path.is_symlink() else ""
    except OSError as error:
        return Info(), f"{path} cannot be read: {error.strerror}."
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        return Info(), f"{path} is not what winit writes: {place + ': ' if place else ''}{first['msg']}."
