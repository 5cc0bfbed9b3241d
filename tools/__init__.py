"""What the development of the package needs: not in the wheel."""
