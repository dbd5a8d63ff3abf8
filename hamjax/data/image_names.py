"""Names of image files, and the ids that they and the cells of tables stand for."""

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def is_image(name: str) -> bool:
    """Return whether a file of this name is taken for an image."""
    # macOS puts files that begin with ._ beside those of an archive; they have the names of images, but are none.
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("._")


def image_id_of(name: str) -> str:
    """Return the id that a file's name or a table's cell stands for: without folders, of Windows too, and suffixes.

    A suffix may be there twice: programs that hide suffixes let users add another one.
    """
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    while is_image(name) and len(stem := name.rpartition(".")[0]):
        name = stem
    return name
