"""`plot`: pictures of positions, and of what a trained model makes of a text."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from transformer_jax.cli import streams
from transformer_jax.config import ConfigError, nearest
from transformer_jax.host import devices
from transformer_jax.host.folders import require_writable, write_whole

# What needs jax is imported where it is used: --help and mistakes answer at once.

NEEDS = {"positions": (), "attention": ("folder", "text"), "vectors": ("folder", "text")}
SIZES = {"d_model": 512, "length": 100}


@dataclass(frozen=True)
class Plot:
    """Draw what stands inside a model, as PNGs.

    positions: the sinusoidal table, its wavelengths, and how alike positions are; with a run of model.position=learned
    its learned positions beside sinusoidal ones. attention: what each token of --text looks at, by layer and head of a
    run's model (of a translation: its encoder; generate --alignment draws what its decoder looks at). vectors: how
    alike the tokens of --text are before and after the blocks.
    """

    what: tyro.conf.Positional[str]
    """positions, attention or vectors."""
    folder: tyro.conf.Positional[Path | None] = None
    """The folder of the run."""
    text: str | None = None
    """The text that the model reads."""
    prompt: str | None = None
    """The same, as generate calls what a language model reads; one of them."""
    out: Path | None = None
    """The folder of the pictures, made if need be; None: that of the run, or runs/plots."""
    d_model: int | None = None
    """Of positions without a run: the width; None: 512."""
    length: int | None = None
    """Of positions without a run: how many; None: 100."""
    checkpoint: str = "best"
    """best (by the validation split), latest, average (of the last train.keep_last) or a step."""
    data_dir: str | None = None
    """The folder of prepared sets, if it has moved since the training."""

    def run(self, overrides: dict[str, list[str]]) -> int:
        if self.prompt is not None:
            if self.text is not None:
                raise ConfigError("--prompt and --text are both the text that the model reads: give one of them")
            return replace(self, text=self.prompt, prompt=None).run(overrides)
        self._check()
        if self.folder is not None:
            streams.there([self.folder])  # which names the folder of the stream, where it is one of its tasks
        from transformer_jax.cli.training import missing_data
        from transformer_jax.report.plots import png

        out = self.out or self.folder or Path("runs") / "plots"
        require_writable(out / "positions.png", "--out", made=True)
        with missing_data("--data-dir", of_run=True):
            figures = self._figures()
        for figure in figures:
            out.mkdir(parents=True, exist_ok=True)
            print(write_whole(out / f"{figure.name}.png", png(figure)))
        return 0

    def _check(self) -> None:
        """Raises ConfigError for no such picture, or an option that it needs or has no use for."""
        if self.what not in NEEDS:
            raise ConfigError(f"no picture {self.what!r}{nearest(self.what, NEEDS)}")
        for name in NEEDS[self.what]:
            if getattr(self, name) is None:
                spelled = "the folder of a run" if name == "folder" else f"--{name}"
                raise ConfigError(f"plot {self.what} needs {spelled}: plot {self.what} FOLDER --text TEXT")
        for name in ("text", *SIZES):
            given = getattr(self, name) is not None
            if given and name not in NEEDS[self.what] and (self.what != "positions" or name == "text" or self.folder):
                raise ConfigError(f"--{name.replace('_', '-')} has no use with plot {self.what}")
        for name in SIZES:
            if (size := getattr(self, name)) is not None and size < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {size}: must be at least 1")

    def _figures(self) -> list:
        from transformer_jax.cli.training import builder
        from transformer_jax.lab import inside, pictures

        devices.require()
        build, place = builder("--data-dir", self.data_dir), (self.checkpoint, self.data_dir)
        if self.what == "positions":
            if self.folder is not None:
                return [pictures.learned(inside.learned_positions(self.folder, build, *place))]
            return pictures.positions(self.d_model or SIZES["d_model"], self.length or SIZES["length"])
        found = inside.look(self.folder, build, self.text, *place)
        if self.what == "vectors":
            return [pictures.vectors(found.vectors_NxLxD, found.tokens)]
        if found.weights_NxHxLxL is None:
            raise ConfigError(f"{self.folder} holds a recurrence: it has no attention to draw; plot vectors works")
        return [pictures.attention(found.weights_NxHxLxL, found.tokens)]
