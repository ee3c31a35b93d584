"""The `pawl` command: click commands of a few lines each, heavy imports inside them."""
