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


def _units(
    real: ArrayLike, fake: ArrayLike, groups: Samples | None, paired: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The independent values of each kind: images, or means of groups; row by row if paired."""
    if groups is None:
        real, fake = check_maps("real", real, ndim=1), check_maps("fake", fake, ndim=1)
        if paired:
            check_same_shape(real=real, fake=fake)
        return real, fake
    means = [group_means("real", real, groups[0]), group_means("fake", fake, groups[1])]
    alone = means[0].index.symmetric_difference(means[1].index)
    if paired and len(alone):
        raise ValueError(
            f"groups: {alone[0]!r} is not on both sides; the same groups wanted for a paired test"
        )
    return means[0].to_numpy(), means[1].to_numpy()


def compare(
    real: ArrayLike,
    fake: ArrayLike,
    seed: int = 42,
    n_permutations: int = 9999,
    groups: Samples | None = None,
    paired: bool = True,
) -> dict[str, float]:
    """Tests of one number per image, real (N,) against fake (M,).

    Without ``groups`` every image is an independent unit; with them, images of a group are averaged
    first. ``paired`` says whether row ``i`` of both belongs together, or each group has both kinds;
    otherwise there is the KS test only.

    Returns
    -------
    dict
        ``real``, ``fake``: means over the units. ``KS D``, ``KS p``: two-sample Kolmogorov-Smirnov
        test, which ignores the pairs. ``naive KS p``, with groups: the same test over images, wrong
        where a group has several of a kind. ``paired p``: two-sided sign-flip permutation test of
        the mean difference within pairs; NaN for a single one. ``ICC of pairs``: intraclass
        correlation of the real and the manipulated value of a pair; the higher, the more a paired
        test gains.

    Raises
    ------
    ValueError
        If an array is empty or holds NaN, lengths do not fit, or a group of paired data has one
        kind only.
    """
    units = _units(real, fake, groups, paired)
    ks = stats.ks_2samp(*units)
    result = {"real": units[0].mean(), "fake": units[1].mean()}
    result |= {"KS D": ks.statistic, "KS p": ks.pvalue}
    if groups is not None:
        result["naive KS p"] = stats.ks_2samp(real, fake).pvalue
    if paired:
        pairs = np.tile(np.arange(len(units[0])), 2)
        result["paired p"] = _sign_flip(units[1] - units[0], seed, n_permutations)
        result["ICC of pairs"] = intraclass_correlation(np.concatenate(units), pairs)
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
    seed: int = 42,
    groups: Mapping[str, Samples] | None = None,
    paired: bool = True,
) -> pd.DataFrame:
    """:func:`compare` for each manipulation, from its real and its own mean variances.

    One row per manipulation: number of ``groups`` (independent units; without groups the pairs, or
    the images of both kinds), of ``real images`` and ``fake images`` where they can differ from it,
    and the columns of :func:`compare`. ``KS p`` and ``paired p`` are followed by the same corrected
    for the number of manipulations (``KS p, Holm``, ``paired p, Holm``).
    """
    rows = {}
    for name, (real, fake) in samples.items():
        own_groups = None if groups is None else groups[name]
        counts = _counts(len(real), len(fake), own_groups, paired)
        rows[name] = counts | compare(real, fake, seed, groups=own_groups, paired=paired)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("manipulation")
    for name in {"KS p", "paired p"}.intersection(table):
        table.insert(table.columns.get_loc(name) + 1, f"{name}, Holm", holm(table[name]))
    return table


def _counts(real: int, fake: int, groups: Samples | None, paired: bool) -> dict[str, float]:
    if groups is None and paired:
        return {"groups": real}
    units = real + fake if groups is None else len(np.union1d(*groups))
    return {"groups": units, "real images": real, "fake images": fake}


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


def long_table(
    samples: Mapping[str, Samples], groups: Mapping[str, Samples] | None = None
) -> pd.DataFrame:
    """The values with one row per image, or with ``groups`` one row per group.

    Columns ``manipulation``, ``kind`` (``real`` or ``fake``), ``variance``.
    """
    tables = []
    for name, pair in samples.items():
        for number, kind in enumerate(("real", "fake")):
            values = np.asarray(pair[number])
            if groups is not None:
                values = group_means(kind, values, groups[name][number]).to_numpy()
            tables.append(pd.DataFrame({"manipulation": name, "kind": kind, "variance": values}))
    return pd.concat(tables, ignore_index=True)
