"""`python -m flambeau.distributed.launch`: the launcher's older name; workers read `LOCAL_RANK` from their environment."""

from collections.abc import Sequence

from .run import get_args_parser, run

__all__ = ["launch", "main", "parse_args"]


def parse_args(args: Sequence[str] | None) -> object:
    """The options of a command line; `--use-env` changes nothing."""
    parser = get_args_parser()
    parser.add_argument("--use-env", "--use_env", action="store_true", help="what is done anyway")
    return parser.parse_args(args)


def launch(args: object) -> None:
    """Launch what parsed options say."""
    run(args)  # type: ignore[arg-type]


def main(args: Sequence[str] | None = None) -> None:
    """The command."""
    launch(parse_args(args))


if __name__ == "__main__":
    main()
