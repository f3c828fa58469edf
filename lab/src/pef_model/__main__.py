"""`python -m pef_model`: see `command`."""

from pef_model.command import app

if __name__ == "__main__":
    app()
