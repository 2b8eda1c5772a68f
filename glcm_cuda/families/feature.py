"""A texture feature, its names, and the family it belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """A texture feature and its names.

    Parameters
    ----------
    family : str
        Name of its family, as pyradiomics writes it: ``"glcm"``.
    stage : str
        Name of the family's stage that computes it; see `families.stage`.
    name : str
        Its own name: pyradiomics' name in snake case in the family ``glcm``, `full_name` in all others.
    pyradiomics : str
        Name in pyradiomics; empty where pyradiomics has no such feature.
    ibsi : tuple of (str, str)
        Pairs of name and identifier in the IBSI reference manual.
    haralick : tuple of int
        Its numbers in Haralick, Shanmugam and Dinstein (1973).
    others : tuple of str
        Names in other tools and texts.
    needs : tuple of str
        What its stage must count for it, beyond what it always counts; the family's module `features` lists
        the possible words.
    formula : str
        Key of its formula, in a table of its own family or of several (`emphases.FORMULAS`).
    """

    family: str
    stage: str
    name: str
    pyradiomics: str
    ibsi: tuple[tuple[str, str], ...] = ()
    haralick: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    formula: str = ""

    @property
    def full_name(self) -> str:
        """Name in pyradiomics with that of its family, such as ``"glcm_JointEntropy"``."""
        return f"{self.family}_{self.pyradiomics}" if self.pyradiomics else self.name

    @property
    def is_entropy(self) -> bool:
        """Whether its unit is that of the logarithm, `GLCMSettings.unit`. No other feature has one."""
        return self.name.casefold().endswith("entropy")

    @property
    def is_of_intensities(self) -> bool:
        """Whether its stage reads the intensities, so that grey levels alone do not give it."""
        return self.stage == "intensities"

    @property
    def unique_names(self) -> tuple[str, ...]:
        """Names that no feature of another family has."""
        identifiers = (identifier for _, identifier in self.ibsi)
        haralick = (f"f{number}" for number in self.haralick)
        original = (f"original_{self.full_name}",) if self.pyradiomics else ()
        return (self.name, self.full_name, *original, *identifiers, *haralick)

    @property
    def shared_names(self) -> tuple[str, ...]:
        """Names that a feature of another family may have, too."""
        pyradiomics = (self.pyradiomics,) if self.pyradiomics else ()
        return (*pyradiomics, *(name for name, _ in self.ibsi), *self.others)


@dataclass(frozen=True)
class Family:
    """A texture family.

    Parameters
    ----------
    name : str
        Name as pyradiomics writes it.
    features : tuple of Feature
        All its features, in pyradiomics' order; those that it shares with another family are of that family.
    region_only : str
        Why its own features exist for whole regions only; empty if they have maps.
    directed : bool
        Whether it counts a matrix for each direction.

    Notes
    -----
    Its code is the package ``glcm_cuda.families.NAME``. The modules ``cpu.stages`` and ``cuda.stages`` of
    this package each define ``STAGES``, a dict from the stages that its features name to the classes that
    implement them (`families.stage`). The module ``region`` defines ``values``, which computes the features
    of a whole region (`families.region`). They are imported when a feature is computed.
    """

    name: str
    features: tuple[Feature, ...]
    region_only: str = ""
    directed: bool = False

    @property
    def package(self) -> str:
        """The package that holds its code."""
        return f"{__package__}.{self.name}"
