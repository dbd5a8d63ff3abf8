"""What the paper reports: W. Zhang, "Deep Learning Exploration on Skin Lesion Data HAM10000", Tables 4 to 7.

Of every network it shows one run, of the strategy with the best test accuracy, on a test part of
1,103 images. Its "Overall" precision, recall and F1 equal the accuracy: they are micro averages.
"""

MODELS = ("cnn", "resnet50", "inceptionv3", "densenet201")  # the columns of Table 4
TEST_IMAGES = 1103  # its section 4.2

# Table 4, test accuracy by strategy, in the order of MODELS.
ACCURACY = {
    "s1": (0.789, 0.889, 0.899, 0.889),
    "s2": (0.844, 0.894, 0.887, 0.909),
    "s3": (0.844, 0.906, 0.897, 0.915),
    "s4": (0.031, 0.905, 0.899, 0.910),
    "s5": (0.543, 0.902, 0.898, 0.921),
}

# Tables 5, 6 and 7: akiec, bcc, bkl, df, nv, mel, vasc, overall.
PER_CLASS = {
    "precision": {
        "cnn": (1.00, 0.53, 0.48, 0.00, 0.87, 0.36, 0.83, 0.84),
        "resnet50": (0.42, 0.74, 0.70, 0.67, 0.96, 0.58, 0.93, 0.90),
        "inceptionv3": (0.69, 0.84, 0.63, 0.62, 0.97, 0.49, 0.69, 0.90),
        "densenet201": (0.74, 0.81, 0.82, 0.60, 0.94, 0.73, 1.00, 0.92),
    },
    "recall": {
        "cnn": (0.03, 0.31, 0.29, 0.00, 0.99, 0.21, 0.50, 0.84),
        "resnet50": (0.42, 0.78, 0.65, 0.75, 0.98, 0.39, 0.81, 0.90),
        "inceptionv3": (0.56, 0.77, 0.72, 0.80, 0.95, 0.59, 0.69, 0.90),
        "densenet201": (0.61, 0.78, 0.69, 0.75, 0.99, 0.44, 0.83, 0.92),
    },
    "f1": {
        "cnn": (0.06, 0.39, 0.36, 0.00, 0.93, 0.26, 0.62, 0.84),
        "resnet50": (0.42, 0.76, 0.67, 0.71, 0.97, 0.47, 0.87, 0.90),
        "inceptionv3": (0.62, 0.81, 0.67, 0.70, 0.96, 0.54, 0.69, 0.90),
        "densenet201": (0.67, 0.79, 0.75, 0.67, 0.97, 0.55, 0.91, 0.92),
    },
}

# Images per class of a test part as the paper describes it: 20% of the lesions with one image,
# by class, in the order of PER_CLASS. The paper's own supports are not given.
SUPPORT = (30, 35, 88, 8, 883, 46, 13)


def best_strategies(model: str) -> list[str]:
    """Return the strategies that Tables 5 to 7 may show: the most accurate ones.

    Where two are equally accurate, the paper does not say which it shows.
    """
    accuracy = {strategy: row[MODELS.index(model)] for strategy, row in ACCURACY.items()}
    return [strategy for strategy, value in accuracy.items() if value == max(accuracy.values())]
