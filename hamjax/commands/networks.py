"""Print the networks as in the paper's Tables 2 and 3: layers, output shapes, parameters."""

from collections.abc import Sequence

from hamjax.commands.arguments import make_parser
from hamjax.paper.networks import describe_networks


def main(words: Sequence[str]) -> None:
    """Run the command."""
    make_parser("networks", __doc__).parse_args(words)
    print(describe_networks())
