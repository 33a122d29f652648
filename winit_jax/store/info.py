"""run.json as it was written, or a sentence about why it cannot be."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winit_jax.spec.parts import Job
from winit_jax.system import disk

MAX_BYTES = 256 << 20


class Failure(BaseModel):
    """A job that failed, and why."""

    model_config = ConfigDict(extra="allow")
    part: str
    networks: Job
    reason: str


class Source(BaseModel):
    """Data that a run was fed with."""

    model_config = ConfigDict(extra="allow")
    source: str
    sha256: str
    classes: Annotated[int, Field(ge=2)] | None = None


class Info(BaseModel):
    """What run.json says of a run beside its tables. Keys that are not named here are kept as they are."""

    model_config = ConfigDict(extra="allow")
    state: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    self_check: list[str] = []
    failures: list[Failure] = []
    inputs: dict[str, Source] = {}
    train: Source | None = None
    made_by: list[dict[str, Any]] = []


def read_info(path: Path) -> tuple[Info, str]:
    """(What run.json says, a sentence if it says nothing that can be understood)."""
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
