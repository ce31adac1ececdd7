"""Where the images are: what the command line asks for, light enough to import for `--help`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CsvColumns:
    """Which columns of a training CSV mean what; None for image and label: guessed where only one fits."""

    image: str | None = None
    label: str | None = None
    group: str | None = None
    fold: str | None = None


@dataclass(frozen=True)
class ImageSources:
    """Where the images are.

    Attributes:
        train: class folders, or the folder that the CSV's image names are relative to.
        test: folder of unlabelled images, flat or nested; None: none.
        train_csv: labels as a CSV instead of class folders.
        columns: of the CSV.
        sample: the sample submission; None: looked for beside the test folder.
        allow_outside: let the CSV name images outside the training folder.
    """

    train: Path = Path("data/train")
    test: Path | None = Path("data/test")
    train_csv: Path | None = None
    columns: CsvColumns = CsvColumns()
    sample: Path | None = None
    allow_outside: bool = False

    @staticmethod
    def test_beside(train: Path) -> Path | None:
        """The folder `test` beside the training folder, if there is one."""
        folder = train.absolute().parent / "test"
        return train.parent / "test" if folder.is_dir() else None
