"""A texture feature and its names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Feature:
    """A feature and its names.

    Parameters
    ----------
    name : str
        pyradiomics' name in snake case.
    pyradiomics : str
        The name there.
    ibsi : tuple of (str, str)
        Names and identifiers in the IBSI reference manual.
    haralick : tuple of int
        Numbers in the paper of Haralick, Shanmugam and Dinstein (1973).
    others : tuple of str
        What other tools and texts call it.
    needs : tuple of str
        Which sums over pairs it is made of, besides those of first and second powers: "powers" (third and
        fourth), "inverse"; the logarithmic sums "joint", "total", "difference" and "ends"; "energy",
        "largest"; or "mcc", which no sum gives. See `definition.Sums`.
    """

    name: str
    pyradiomics: str
    ibsi: tuple[tuple[str, str], ...] = ()
    haralick: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def synonyms(self) -> tuple[str, ...]:
        """Every name but its own."""
        haralick = tuple(f"f{number}" for number in self.haralick)
        return (self.pyradiomics, *(name for pair in self.ibsi for name in pair), *haralick, *self.others)
