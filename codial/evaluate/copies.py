"""Test images that the training images or the gallery contain, too: measurements of them are no test."""

from codial.data import Dataset, ImageSet


def count_copies(images: Dataset, others: Dataset) -> int:
    """Return how many images have the same pixels as one of the others; 0 unless both are in memory and of one size."""
    if not (isinstance(images, ImageSet) and isinstance(others, ImageSet) and images.image_size == others.image_size):
        return 0
    known = {hash(image.tobytes()) for image in others.images.cpu().numpy()}
    return sum(hash(image.tobytes()) in known for image in images.images.cpu().numpy())


def copies_text(images: Dataset, others: Dataset) -> str:
    """Return a sentence about the images that are also among the others, or "" if there are none."""
    count = count_copies(images, others)
    share = f"{count} of {len(images)} images of {images.name}/{images.split}"
    return f"{share} are also in {others.name}/{others.split} (the same pixels)" if count else ""
