"""Mutated input of seven kinds: each must end in success or in a `UserError`.

A kind is a module with

    make_samples(folder)               healthy input, once
    mutate(rng, samples, folder)       a mutant in an empty folder; returns what was mutated
    parses(mutated)                    whether the outer parser of its format takes it
    use(folder)                        what hamjax does with it, in this process
    command(folder)                    the same as a command, or nothing where there is none
"""

KINDS = ("tables", "archives", "layouts", "jpegs", "weights", "runs", "overrides")
