"""Where other libraries keep MNIST and Fashion-MNIST, without importing them."""

import os
from pathlib import Path

# name -> (torchvision's folder, Keras' files, names in OpenML's cache)
CACHED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "mnist": ("MNIST", ("mnist.npz",), ("mnist_784", "52667")),
    "fashion_mnist": (
        "FashionMNIST",
        ("fashion-mnist/train-images-idx3-ubyte.gz", "fashion-mnist.npz"),
        ("Fashion-MNIST", "18238735"),
    ),
}


def find(name: str) -> tuple[Path | None, list[str]]:
    """(The file or folder of a data set or None, the folders that were looked in)."""
    torchvision, keras, openml = CACHED[name]
    home = Path.home()
    # torchvision's root is an argument; its documentation and most scripts say ./data.
    roots = [Path("data"), Path(), home / "data", home / "datasets", home / ".cache" / "torch"]
    if torch_home := os.environ.get("TORCH_HOME"):
        roots.insert(0, Path(torch_home))
    for root in roots:
        folder = root / torchvision / "raw"
        if any(folder.glob("train-images*idx3-ubyte*")):
            return folder, []
    keras_home = Path(os.environ.get("KERAS_HOME") or home / ".keras") / "datasets"
    for file in keras:
        if (keras_home / file).is_file():
            return keras_home / file, []
    openml_home = Path(os.environ.get("SCIKIT_LEARN_DATA") or home / "scikit_learn_data") / "openml"
    for path in sorted((openml_home / "openml.org" / "data").rglob("*.gz")):
        if any(word in (path.name.split(".")[0], path.parent.name) for word in openml):
            return path, []
    return None, [str(folder) for folder in (*(root / torchvision / "raw" for root in roots), keras_home, openml_home)]
