"""Small networks of PyTorch as `winit probe` takes them: sound ones, and what goes wrong with them."""

import torch
import torch.nn.functional as F
from torch import nn

# Threads that wait for each other cost more than what these networks compute.
torch.set_num_threads(1)

WIDTH = 64


def inputs(*shape, seed=99):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


X = inputs(50, WIDTH)
SEQUENCES = inputs(8, 16, WIDTH)
IMAGES = inputs(8, 3, 12, 12)
TOKENS = torch.randint(0, 50, (8, 16), generator=torch.Generator().manual_seed(98))


def he(module):
    """Every Linear and Conv by He, its biases 0."""
    for inner in module.modules():
        if isinstance(inner, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(inner.weight, nonlinearity="relu")
            if inner.bias is not None:
                nn.init.zeros_(inner.bias)
    return module


def mlp(phi=nn.ReLU, depth=4):
    layers = [layer for _ in range(depth - 1) for layer in (nn.Linear(WIDTH, WIDTH), phi())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, WIDTH))


class Residual(nn.Module):
    """A block of a ResNet: two convolutions with batch norm, added to what came in."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        return F.relu(y, inplace=True)


def resnet(blocks=3):
    stem = (nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return he(nn.Sequential(*stem, nn.MaxPool2d(2), *(Residual(16) for _ in range(blocks)), *head))


def encoder(layers=2, drawn_again=True, **options):
    """`nn.TransformerEncoder`, whose layers are copies of one until they are drawn again, as `nn.Transformer` does."""
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 128, batch_first=True, **options)
    module = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    if drawn_again:
        for parameter in module.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
    return module


class Language(nn.Module):
    """A small causal language model whose head is its embedding, with branches scaled by depth as of GPT-2."""

    def __init__(self, layers=2, residual_std=None):
        super().__init__()
        self.embed = nn.Embedding(50, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(16, WIDTH))
        self.blocks = nn.ModuleList(Block(residual_std or 0.125 / (2 * layers) ** 0.5) for _ in range(layers))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, tokens):
        x = self.embed(tokens) + self.places[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight) / WIDTH**0.5


class Block(nn.Module):
    def __init__(self, residual_std):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        for layer, std in (
            (self.qkv, 0.125),
            (self.out, residual_std),
            (self.up, 0.125),
            (self.down, residual_std / 2),
        ):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (4, -1)).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Deep(nn.Module):
    """A deep stream whose branches are scaled down with depth, or not."""

    def __init__(self, depth, branch):
        super().__init__()
        self.up = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(depth))
        he(self)
        with torch.no_grad():
            for layer in self.down:
                layer.weight *= branch * 0.5**0.5

    def forward(self, x):
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(F.relu(up(F.layer_norm(x, x.shape[-1:]))))
        return x


class Transposed(nn.Module):
    """Weights that lie as [in, out], drawn by `nn.init`, which takes them to lie as [out, in]."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.empty(WIDTH, 256)), nn.Parameter(torch.empty(256, WIDTH))
        for weights in self.parameters():
            nn.init.kaiming_normal_(weights)

    def forward(self, x):
        return F.relu(x @ self.up) @ self.down


class Cut(nn.Module):
    """A network whose first half is detached from the loss, and a parameter that nothing reads."""

    def __init__(self, detach, extra):
        super().__init__()
        self.first, self.last = he(nn.Linear(WIDTH, WIDTH)), he(nn.Linear(WIDTH, WIDTH))
        self.detach = detach
        if extra:
            self.extra = nn.Parameter(torch.randn(WIDTH, WIDTH))

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(x.detach() if self.detach else x)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm, self.head = (
            nn.Embedding(50, WIDTH),
            nn.LSTM(WIDTH, WIDTH, batch_first=True),
            mlp(nn.Tanh),
        )

    def forward(self, tokens):
        return self.head(self.lstm(self.embed(tokens))[0])


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(WIDTH, 256), nn.Linear(128, WIDTH)

    def forward(self, x):
        return x + self.down(F.glu(self.up(x)))


def changed(module, change):
    with torch.no_grad():
        change(module)
    return module


def _set(path, change):
    """A change of one parameter in place."""

    def of(module):
        parameter = module.get_parameter(path)
        parameter.copy_(change(parameter))

    return of


def frozen():
    module = he(mlp())
    module[0].requires_grad_(False)
    return module


SOUND = {
    "he_relu": (lambda: he(mlp()), X),
    "default_tanh": (lambda: mlp(nn.Tanh, depth=3), X),
    "default_silu": (lambda: mlp(nn.SiLU, depth=3), X),
    "resnet": (resnet, IMAGES),
    "encoder": (encoder, SEQUENCES),
    "encoder_pre_norm": (lambda: encoder(norm_first=True, activation="gelu", dropout=0.0), SEQUENCES),
    "language": (Language, TOKENS),
    "deep": (lambda: Deep(12, 12**-0.5), X),
    "recurrent": (Recurrent, TOKENS),
    "gated": (Gated, X),
    "frozen": (frozen, X),
    "head_alone": (lambda: nn.Linear(WIDTH, 10), X),
}

# What is wrong -> (a module with it, its inputs, the kind of the finding, where).
FAULTY = {
    "nan": (lambda: changed(he(mlp()), _set("2.weight", lambda w: w / 0)), X, "nonfinite parameter", "2.weight"),
    "zeros": (lambda: changed(he(mlp()), _set("2.weight", lambda w: 0 * w)), X, "zero weights", "2.weight"),
    "constant": (
        lambda: changed(he(mlp()), _set("2.weight", lambda w: 0 * w + 0.1)),
        X,
        "constant weights",
        "2.weight",
    ),
    "copied_layers": (
        lambda: encoder(drawn_again=False),
        SEQUENCES,
        "identical parameters",
        "layers.0.linear1.weight",
    ),
    "swapped_fans": (Transposed, X, "fans swapped", "up"),
    "unused": (lambda: Cut(False, True), X, "unused parameter", "extra"),
    "no_gradient": (lambda: Cut(True, False), X, "no gradient", "first.weight"),
    "vanishing": (
        lambda: changed(he(mlp()), lambda m: [w.mul_(0.01) for w in m.parameters()]),
        X,
        "vanishing signal",
        "2",
    ),
    "exploding": (
        lambda: changed(he(mlp(depth=6)), lambda m: [w.mul_(4) for w in m.parameters()]),
        X,
        "exploding signal",
        "6",
    ),
    "saturated": (
        lambda: changed(mlp(nn.Tanh), lambda m: [w.mul_(40) for w in m.parameters()]),
        X,
        "saturated units",
        None,
    ),
    "collapsed": (lambda: mlp(nn.Sigmoid, depth=6), X, "collapsed inputs", None),
    "dead": (lambda: changed(he(mlp()), _set("2.bias", lambda b: b - 5)), X, "dead units", "3"),
    "heavy_tails": (
        lambda: changed(he(mlp()), lambda m: m[2].weight[7, 3].fill_(5)),
        X,
        "heavy tails",
        "2.weight",
    ),
    "growing_stream": (lambda: Deep(32, 1.5), X, "growing stream", None),
    "sharp_attention": (
        lambda: changed(Language(), lambda m: [b.qkv.weight.mul_(12) for b in m.blocks]),
        TOKENS,
        "sharp attention",
        None,
    ),
}  # fmt: skip
