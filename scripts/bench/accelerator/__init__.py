"""One command that measures an accelerator: rows in processes of their own, within a budget of minutes."""
