"""From a source to records and a cache of pixels: verified, resized, written whole or not at all."""
