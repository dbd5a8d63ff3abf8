"""Print the networks as the paper's Tables 2 and 3: layers, output shapes, parameters.

python scripts/print_networks.py
"""

from hamjax.report.networks import describe_networks

if __name__ == "__main__":
    print(describe_networks())
