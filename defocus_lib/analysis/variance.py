"""Local variance of the maps, and whether its mean differs between real and manipulated images.

Jeon & Woo (2025) use a two-sample Kolmogorov-Smirnov (KS) test on one number per image, which
assumes independent images. Frames of one video are not, so a p-value over frames means little. Here
the unit is the group (the target video, the scene, the picture): images of one group are averaged
first. Where each group has real and manipulated images, the two samples are paired. A paired test
then stands next to the KS test and asks what the pairs can answer: does the manipulation shift the
mean variance of a group? The KS test over images stays beside them under the name *naive*;
:func:`false_alarms` simulates what each of the three is worth.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage, stats

from defocus_lib.checks import check_maps, check_same_shape
from defocus_lib.stats.bootstrap import N_BOOTSTRAP, Estimate, bootstrap_mean, check_groups
from defocus_lib.stats.effects import Samples, holm, intraclass_correlation

WINDOW = 15
"""Width of the window of Jeon & Woo (2025) in pixels."""
COLUMNS = (
    *("groups", "real images", "fake images", "real", "fake", "KS D", "KS p", "KS p, Holm"),
    *("naive KS p", "paired p", "paired p, Holm", "ICC of pairs"),
)
"""Of the table of tests, in this order."""
CORRELATIONS = (0.0, 0.2, 0.5, 0.8)
"""Intraclass correlations of the simulations."""


def local_variance(maps: ArrayLike, window: int = WINDOW) -> np.ndarray:
    """``E[x^2] - E[x]^2`` in a square window around each pixel, in squared units of the map.

    ``maps`` and the result are (N, H, W). Stride 1; outside the image the map counts as 0, and
    those zeros count in the means, as in the authors' code. A map that is not 0 at the border
    therefore has a variance there that is not of its own making (see :func:`both_means`). Raises
    ValueError if the stack is empty or holds NaN, or the window is even or not positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window is {window}; an odd number of pixels, at least 1, wanted")
    x = check_maps("maps", maps).astype(np.float64)
    mean = ndimage.uniform_filter(x, window, mode="constant", axes=(1, 2))
    mean_square = ndimage.uniform_filter(x * x, window, mode="constant", axes=(1, 2))
    return np.maximum(mean_square - mean**2, 0)  # rounding alone can make it negative


def mean_variance(maps: ArrayLike, window: int = WINDOW) -> np.ndarray:
    """Mean local variance of each image, (N,) float64."""
    return local_variance(maps, window).mean(axis=(1, 2))


def both_means(maps: ArrayLike, window: int = WINDOW) -> np.ndarray:
    """Mean over all windows, and over those that lie within the image: (N, 2) float64.

    Raises ValueError as :func:`local_variance`, and if no window fits into the image.
    """
    variance = local_variance(maps, window)
    height, width = variance.shape[1:]
    if min(height, width) < window:
        raise ValueError(
            f"maps of {(height, width)} pixels are smaller than the window of {window}"
        )
    margin = window // 2
    inner = variance[:, margin : height - margin, margin : width - margin]
    return np.stack([part.mean(axis=(1, 2)) for part in (variance, inner)], axis=1)


def group_means(name: str, values: ArrayLike, groups: ArrayLike) -> pd.Series:
    """Mean of the values (N,) of each group, in the order of the groups' names.

    Raises ValueError that names the argument if lengths differ, or values are missing or NaN.
    """
    values = check_maps(name, values, ndim=1)
    return pd.Series(values).groupby(check_groups(name, values, groups)).mean()


def compare(
    real: ArrayLike,
    fake: ArrayLike,
    seed: int = 42,
    n_permutations: int = 9999,
    paired: bool = True,
) -> dict[str, float]:
    """Tests of independent values, real (N,) against fake (M,).

    If ``paired``, row ``i`` of both belongs together; otherwise there is the KS test only.

    Returns
    -------
    dict
        ``real``, ``fake``: means. ``KS D``, ``KS p``: two-sample Kolmogorov-Smirnov test, which
        ignores the pairs. ``paired p``: two-sided sign-flip permutation test of the mean difference
        within pairs; NaN for a single one. ``ICC of pairs``: intraclass correlation of the two
        values of a pair; the higher, the more a paired test gains.

    Raises
    ------
    ValueError
        If an array is empty or holds NaN, or paired ones differ in length.
    """
    real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
    ks = stats.ks_2samp(real, fake)
    result = {"real": real.mean(), "fake": fake.mean(), "KS D": ks.statistic, "KS p": ks.pvalue}
    if paired:
        check_same_shape(real=real, fake=fake)
        pairs = np.tile(np.arange(len(real)), 2)
        result["paired p"] = _sign_flip(fake - real, seed, n_permutations)
        result["ICC of pairs"] = intraclass_correlation(np.concatenate([real, fake]), pairs)
    return result


def _sign_flip(differences: np.ndarray, seed: int, n_permutations: int) -> float:
    if len(differences) < 2:
        return np.nan
    flipped = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=n_permutations,
        batch=1000,  # bounds the memory for thousands of pairs
        vectorized=True,
        rng=seed,
    )
    return flipped.pvalue


def ks_pvalue(distance: float, n: int, m: int) -> float:
    """Asymptotic p-value of a two-sample KS distance for ``n`` and ``m`` independent units."""
    if not 0 <= distance <= 1 or min(n, m) < 1:
        raise ValueError(
            f"distance {distance}, n {n}, m {m}; a distance in [0, 1] and at least 1 unit each "
            "wanted"
        )
    return float(stats.kstwobign.sf(distance * np.sqrt(n * m / (n + m))))


def comparison_table(
    samples: Mapping[str, Samples],
    groups: Mapping[str, Samples],
    seed: int = 42,
    paired: bool = True,
) -> pd.DataFrame:
    """:func:`compare` the means of groups for each manipulation.

    ``samples`` maps the manipulation to the values of real images and its own, ``groups`` to their
    groups. One row per manipulation: number of ``groups``, of ``real images`` and ``fake images``,
    the columns of :func:`compare`, ``KS p`` and ``paired p`` corrected for the number of
    manipulations (``KS p, Holm``, ``paired p, Holm``), and ``naive KS p``, the KS test over images,
    which is wrong where a group has several of a kind. Raises ValueError as :func:`group_means`,
    and if a group of paired data has one kind only.
    """
    rows = {}
    for name, (real, fake) in samples.items():
        names_real, names_fake = groups[name]
        units = [group_means("real", real, names_real), group_means("fake", fake, names_fake)]
        alone = units[0].index.symmetric_difference(units[1].index)
        if paired and len(alone):
            raise ValueError(
                f"groups: {alone[0]!r} is of one kind only; real and fake images wanted to pair"
            )
        rows[name] = {
            "groups": len(np.union1d(names_real, names_fake)),
            "real images": len(real),
            "fake images": len(fake),
            "naive KS p": stats.ks_2samp(real, fake).pvalue,
            **compare(units[0].to_numpy(), units[1].to_numpy(), seed, paired=paired),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")
    for name in {"KS p", "paired p"}.intersection(table):
        table[f"{name}, Holm"] = holm(table[name])
    return table[[name for name in COLUMNS if name in table]]


def paired_difference(
    samples: Mapping[str, Samples],
    groups: Mapping[str, Samples],
    n_bootstrap: int = N_BOOTSTRAP,
    seed: int = 0,
) -> Estimate:
    """Mean of fake minus paired real image over all manipulations, in percent of the real mean.

    Row ``i`` of the real and the fake values of a manipulation belong together.
    """
    real, fake = (np.concatenate([pair[kind] for pair in samples.values()]) for kind in (0, 1))
    owners = np.concatenate([names[1] for names in groups.values()])
    return bootstrap_mean(100 * (fake - real) / real.mean(), owners, n_bootstrap, seed)


def _null_images(
    rng: np.random.Generator, correlation: float, shared: float, units: int, images: int
) -> np.ndarray:
    """Real and fake values without a difference, (2, units, images); each has variance 1."""
    common, own = rng.normal(size=units), rng.normal(size=(2, units))
    levels = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    noise = rng.normal(size=(2, units, images))
    return np.sqrt(correlation) * levels[..., None] + np.sqrt(1 - correlation) * noise


def false_alarms(
    correlations: tuple[float, ...] = CORRELATIONS,
    shared: float = 0.0,
    units: int = 20,
    images: int = 16,
    simulations: int = 200,
    seed: int = 0,
    level: float = 0.05,
) -> pd.DataFrame:
    """How often each test of :func:`compare` rejects where nothing differs: ``level``, if sound.

    Simulated are normal values of ``units`` groups with ``images`` of each kind, whose intraclass
    correlation is given; ``shared`` in [0, 1] is the part of a group's own variance that its real
    and its manipulated images have in common. One row per correlation: the share of the simulations
    in which ``naive KS p``, ``KS p`` and ``paired p`` are at or below the level.
    """
    rng, columns, rows = np.random.default_rng(seed), ["naive KS p", "KS p", "paired p"], []
    for correlation in correlations:
        results = []
        for _ in range(simulations):
            values = _null_images(rng, correlation, shared, units, images)
            real, fake = values.mean(axis=2)
            by_group = compare(real, fake, int(rng.integers(2**31)), n_permutations=199)
            naive = stats.ks_2samp(*values.reshape(2, -1), method="asymp").pvalue
            results.append(by_group | {"naive KS p": naive})
        # Of 199 permutations and the data, 5 % are 10: a p-value can be 0.05, and counts.
        rows.append((pd.DataFrame(results)[columns] <= level).mean())
    return pd.DataFrame(rows, index=pd.Index(correlations, name="correlation"))


def distance_pvalues(
    distance: float,
    units: int,
    images: int,
    correlations: tuple[float, ...] = CORRELATIONS[1:],
    shared: float = 0.0,
    simulations: int = 200,
    seed: int = 0,
) -> pd.Series:
    """Simulated p-values of a KS distance between all images, by correlation within a group.

    They lie between the two of :func:`ks_pvalue` that take every image, or one per group, as
    independent. Arguments as for :func:`false_alarms`. A p-value is the share of the simulations
    without a difference whose distance is at least this one, the data themselves counted as one
    more: at least ``1 / (simulations + 1)``.
    """
    rng, pvalues = np.random.default_rng(seed), {}
    for correlation in correlations:
        samples = (
            _null_images(rng, correlation, shared, units, images).reshape(2, -1)
            for _ in range(simulations)
        )
        distances = [stats.ks_2samp(*pair, method="asymp").statistic for pair in samples]
        reached = sum(each >= distance for each in distances)
        pvalues[correlation] = (1 + reached) / (1 + simulations)
    return pd.Series(pvalues).rename_axis("correlation")


def long_table(samples: Mapping[str, Samples], groups: Mapping[str, Samples]) -> pd.DataFrame:
    """The means that the tests compare, one row per group: manipulation, kind, variance.

    ``kind`` is ``real`` or ``fake``.
    """
    tables = []
    for name, pair in samples.items():
        for kind, values, names in zip(("real", "fake"), pair, groups[name], strict=True):
            means = group_means(kind, values, names).to_numpy()
            tables.append(pd.DataFrame({"manipulation": name, "kind": kind, "variance": means}))
    return pd.concat(tables, ignore_index=True)
