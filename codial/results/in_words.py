"""What came out of a run, in one sentence."""

from math import sqrt

from codial.evaluate import RetrievalResult

Pair = tuple[RetrievalResult, RetrievalResult]  # before and after training, of the same queries


def in_words(neighbors: Pair, views: Pair) -> str:
    """Say whether training improved the features, by retrieval before and after it.

    Whether it did is judged by labels, or by views if there are none; a difference of less than two standard errors is
    called unclear.

    Args:
        neighbors: Results of `retrieve`, before and after training.
        views: Results of `retrieve_views`, before and after training.
    """
    if collapse := neighbors[1].collapse:
        return f"The trained network is {collapse}. All images have nearly the same features."
    k, labeled = neighbors[0].indices.shape[1], bool(neighbors[0].labeled.any())
    same_label = f"{_change(neighbors)} of an image's {k} nearest neighbors have its label"
    own_view = f"for {_change(views)} of the images, the nearest view is another one of the same image"
    if labeled:
        return f"{_judgment(neighbors)}: {same_label}, and {own_view}."
    return f"{_judgment(views)}: {own_view}. What it has learned shows in the neighbors."


def _change(pair: Pair) -> str:
    before, after = (result.precision for result in pair)
    return f"{after:.0f} % (untrained {before:.0f} %)"


def _judgment(pair: Pair) -> str:
    before, after = (result.precision / 100 for result in pair)
    queries = int(pair[0].labeled.sum())  # neighbors of one query are not independent of each other
    error = sqrt((before * (1 - before) + after * (1 - after)) / queries)
    if abs(after - before) <= 2 * error:
        return "Training made no clear difference"
    return "Training improved the features" if after > before else "Training made the features worse"
