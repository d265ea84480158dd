"""How many samples would decide."""

from math import ceil, sqrt

from scipy.special import ndtri

MOST = 10_000_000
"""More than so many samples are no advice."""


def samples_to_show_a_loss(discordant: float, gap: float, *, alpha: float, power: float) -> int | None:
    """Return how many samples let McNemar's one-sided test find this loss; None where there is none, or beyond 10 million.

    n = (z(1−alpha)·√d + z(power)·√(d − gap²))² / gap² for the share d of discordant samples: Connor, «Sample size for
    testing differences in proportions for the paired-sample design», Biometrics 43, 1987, 207-211, after Miettinen,
    Biometrics 24, 1968, 339-352.

    Parameters
    ----------
    discordant, gap
        Shares 0 … 1: of samples that only one of both gets right, and what the second gets right less.
    """
    if not 0 < gap <= discordant:
        return None
    reach = float(ndtri(1 - alpha)) * sqrt(discordant) + float(ndtri(power)) * sqrt(max(discordant - gap * gap, 0.0))
    return _whole((reach / gap) ** 2)


def samples_to_exclude_a_loss(variance: float, gap: float, margin: float, *, alpha: float, power: float) -> int | None:
    """Return how many samples show that the loss is below the margin; None where it is not, or beyond 10 million.

    n = (z(1−alpha) + z(power))² · variance / (margin − gap)²: Lu and Bean, «On the sample size for one-sided equivalence of
    sensitivities based upon McNemar's test», Statistics in Medicine 14, 1995, 1831-1839, with the variance at the gap.

    Parameters
    ----------
    variance
        Of one sample's difference: discordant − gap² for shares.
    gap, margin
        The loss expected and the one to be excluded, in one unit.
    """
    if gap >= margin or variance <= 0:
        return None
    reach = float(ndtri(1 - alpha)) + float(ndtri(power))
    return _whole(reach * reach * variance / (margin - gap) ** 2)


def _whole(count: float) -> int | None:
    return ceil(count) if count <= MOST else None
