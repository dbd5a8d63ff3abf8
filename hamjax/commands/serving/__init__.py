"""What `hamjax serve` runs: an API and a page for one trained network. Its libraries are those of the extra `serve`."""
