"""Load `hamjax serve` and time it beside `hamjax predict` on the same images; see scripts/bench/serve.py."""

from bench.serve import main

if __name__ == "__main__":
    main()
