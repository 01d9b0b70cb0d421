"""What the programs in tools/ share. Standard library only: they run before any virtual environment exists."""
