"""The one error that a user's mistake raises."""


class CodialError(Exception):
    """A mistake that the user can mend.

    The message says what was got, what was expected and what to do. The command line prints it without a traceback, and
    so do notebooks.
    """

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of the traceback."""
        return [f"CodialError: {self}"]
