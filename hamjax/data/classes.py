"""The seven diagnoses of HAM10000: their codes, names and orders."""

# Alphabetical. Four orders are in use: the paper's tables, ISIC's columns and the common hmnist files each have
# their own, so files name their columns and never rely on an order.
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
CLASS_NAMES = {
    "akiec": "actinic keratosis / intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
PAPER_ORDER = ("akiec", "bcc", "bkl", "df", "nv", "mel", "vasc")  # of the paper's Tables 5 to 7
