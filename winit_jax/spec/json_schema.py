"""The JSON Schema of sweep files, for editors that complete and check as one types."""

from typing import Any

from winit_jax.spec.sweep import AXES, NORMALIZATIONS, TABLES, Vocabulary


def json_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON Schema of a sweep file, for editors."""
    ranges = {"type": "string", "pattern": r"^(lin|log):[^:]+:[^:]+:\d+$|^int:-?\d+:-?\d+(:\d+)?$|^[^:]+$"}
    inits = [*vocabulary.shapes, *vocabulary.schemes]
    names = {
        "activation": {"anyOf": [{"enum": list(vocabulary.activations)}, {"type": "string"}]},
        "init": {"enum": inits},
        "normalization": {"enum": list(NORMALIZATIONS)},
    }
    axes = {}
    for axis, kind in AXES.items():
        infinite = [{"const": "inf"}] if axis == "width" else []
        item = names.get(axis) or {"anyOf": [{"type": "integer" if kind is int else "number"}, ranges, *infinite]}
        axes[axis] = {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "winit sweep",
        "type": "object",
        "additionalProperties": False,
        "required": ["grid"],
        "properties": {
            "title": {"type": "string"},
            "grid": {
                "type": "object",
                "additionalProperties": False,
                "required": ["activation"],
                "properties": axes,
            },
            **{name: {"$ref": f"#/$defs/{name}"} for name in TABLES},
        },
        "$defs": _definitions(vocabulary),
    }


def _definitions(vocabulary: Vocabulary) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, model in TABLES.items():
        schema = model.model_json_schema(ref_template="#/$defs/{model}")
        found.update(schema.pop("$defs", {}))
        found[name] = schema
    found["train"]["properties"]["optimizer"]["enum"] = list(vocabulary.optimizers)
    return found
