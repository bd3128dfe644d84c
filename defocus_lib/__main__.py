"""``python -m defocus_lib``: the commands of :mod:`defocus_lib.commands`."""

if __name__ == "__main__":
    from defocus_lib.run.interrupts import end_at_once

    end_at_once()
    from typer.main import get_command

    from defocus_lib.commands import app

    program = get_command(app)
    end_at_once(importing_only=True)  # a command goes on to import what it needs
    program(prog_name="python -m defocus_lib")
