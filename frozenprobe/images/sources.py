"""Where the images are: what the command line asks for, light enough to import for `--help`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from frozenprobe.system.files import named_path


@dataclass(frozen=True)
class CsvColumns:
    """Which columns of a training CSV mean what; None for image and label: guessed where only one fits."""

    image: str | None = None
    label: str | None = None
    group: str | None = None
    fold: str | None = None


@dataclass(frozen=True)
class ImageSources:
    """Where the images are. A path may be given as text, too.

    Attributes:
        train: class folders, tar shards (one, a folder of them, or a pattern such as `train-{000..009}.tar`) or a list
            (`.txt`, `.lst`: `path<TAB>label` a line); with a CSV: the folder or shards that its image names are in.
        test: folder of unlabelled images, flat or nested, tar shards or a list; None: none.
        train_csv: labels as a CSV instead of class folders.
        columns: of the CSV.
        sample: the sample submission; None: looked for in and beside the folder of the test images.
        allow_outside: let a CSV or list name images outside its folder.
        skip_missing: leave rows of a CSV or list out whose images are not there.

    Raises:
        FrozenprobeError: an empty text as a path.
    """

    train: Path = Path("data/train")
    test: Path | None = Path("data/test")
    train_csv: Path | None = None
    columns: CsvColumns = CsvColumns()
    sample: Path | None = None
    allow_outside: bool = False
    skip_missing: bool = False

    def __post_init__(self) -> None:
        for name in ("train", "test", "train_csv", "sample"):
            named = getattr(self, name)
            if named is not None:
                object.__setattr__(self, name, named_path(named, f"--{name.replace('_', '-')}"))

    @staticmethod
    def test_beside(train: Path) -> Path | None:
        """The test images beside the training images: `test.tar`, `test.txt` beside such a file, else a folder `test`.

        Shards in a folder `train` may have the folder `test` beside that one.
        """
        twin = train.parent / f"test{train.suffix}"
        if train.stem == "train" and train.is_file() and twin.is_file():
            return twin
        above = [train.parent]
        if not train.is_dir() and Path(os.path.abspath(train)).parent.name == "train":
            above.append(Path(os.path.normpath(train.parent / os.pardir)))
        return next((folder / "test" for folder in above if (folder / "test").is_dir()), None)
