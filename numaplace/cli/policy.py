"""The commands about policies: list, get, set, delete. What is not named in set stays as it is."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from numaplace.cli import completing, exits, output, tables, units
from numaplace.cli.budget import Headroom, KeepInterleave, Kinds, Pace, StallMs, chosen, cost, named, parsed, policy_of
from numaplace.cli.connect import Json, asks_scheduler
from numaplace.cli.examples import examples
from numaplace.model.ids import JobId
from numaplace.model.policy import FollowMode
from numaplace.model.views import DEFAULT_POLICY

if TYPE_CHECKING:
    from numaplace.client import SchedulerClient

Whose = Annotated[
    str,
    typer.Argument(
        metavar=f"JOB|{DEFAULT_POLICY}",
        help="A job's name, or default for all the others.",
        autocompletion=completing.jobs,
    ),
]

policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    policy_app.command(
        "list", short_help="The default policy and those of single jobs.", epilog=examples("numaplace policy list")
    )(list_)
    policy_app.command(
        short_help="One policy in full.",
        epilog=examples("numaplace policy get default", "numaplace policy get train-42"),
    )(get)
    policy_app.command(
        "set",
        short_help="Change fields of a policy.",
        epilog=examples(
            "numaplace policy set default --mode observe",
            "numaplace policy set train-42 --pace 500MB/s --stall-ms 10",
            "numaplace policy set train-42 --kinds anon,shared --pace none",
        ),
    )(set_)
    policy_app.command(short_help="Back to the default.", epilog=examples("numaplace policy delete train-42"))(delete)
    app.add_typer(
        policy_app,
        name="policy",
        help="Show and change how the pages of jobs follow.",
        short_help="How the pages of jobs follow.",
    )


def _job(whose: str) -> JobId | None:
    return None if whose == DEFAULT_POLICY else JobId(whose)


@asks_scheduler
def list_(client: "SchedulerClient", *, as_json: Json = False) -> None:
    """Show the default policy and those of single jobs."""
    found = client.policies()
    if as_json:
        output.show_json(found)
    else:
        output.show(tables.policies(found))


@asks_scheduler
def get(client: "SchedulerClient", *, job: Whose = DEFAULT_POLICY, as_json: Json = False) -> None:
    """Show one policy in full, and what its fields mean."""
    found = client.policy(_job(job))
    if as_json:
        output.show_json(found)
    else:
        output.show(tables.policy(found))


@asks_scheduler
def set_(
    client: "SchedulerClient",
    *,
    job: Whose,
    mode: Annotated[FollowMode | None, typer.Option(help="When pages follow; observe only records.")] = None,
    pace: Pace = None,
    stall_ms: StallMs = None,
    headroom: Headroom = None,
    kinds: Kinds = None,
    settle_s: Annotated[float | None, typer.Option(metavar="S", help="How long a home must be quiet.")] = None,
    later_s: Annotated[float | None, typer.Option(metavar="S", help="The same for --mode later.")] = None,
    min_remote: Annotated[str | None, typer.Option(metavar="SIZE", help="Less is not worth a move.")] = None,
    min_gain: Annotated[float | None, typer.Option(metavar="SHARE", help="A smaller part (0 to 1) is not.")] = None,
    min_age_s: Annotated[float | None, typer.Option(metavar="S", help="Younger tasks are left alone.")] = None,
    keep_interleave: KeepInterleave = None,
    as_json: Json = False,
) -> None:
    """Change a policy. A job's new policy starts from the default; sizes are 64M, 1.5GiB, 500MB or bytes."""
    costs = cost(pace, stall_ms, headroom)
    fields = {
        **named({"mode": None if mode is None else (mode,)}),
        **chosen(kinds, keep_interleave),
        **named(
            {
                "settle_s": None if settle_s is None else (settle_s,),
                "later_s": None if later_s is None else (later_s,),
                "min_remote_bytes": None if min_remote is None else (_size("--min-remote", min_remote),),
                "min_locality_gain": None if min_gain is None else (min_gain,),
                "min_age_s": None if min_age_s is None else (min_age_s,),
            }
        ),
    }
    if not fields and not costs:
        raise typer.BadParameter("name at least one field to change, for instance --mode later")
    wanted = policy_of(fields, costs)
    changed = client.set_policy(wanted, _job(job), [*fields, *(f"budget.{field}" for field in costs)])
    if as_json:
        output.show_json(changed)
    else:
        output.show(tables.policy(changed))


def _size(option: str, text: str) -> int:
    return parsed(option, units.parse_size, text)


@asks_scheduler
def delete(
    client: "SchedulerClient",
    *,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's name.", autocompletion=completing.jobs)],
) -> None:
    """Delete a job's own policy: it follows by the default again."""
    if job == DEFAULT_POLICY:
        raise exits.Failure(exits.USAGE, "the default policy stays; change it with numaplace policy set default")
    client.delete_policy(JobId(job))
    output.show(Text(f"{job}: follows by the default policy"))
