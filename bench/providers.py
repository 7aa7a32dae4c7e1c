"""Measure Envoy's CPU per request with 1, 4 and 20 providers, for the last of them.

The cost must not grow with the number of providers. So the ratios count: each is taken against the
gateway with one provider in the same round.
"""

from statistics import median

import click

from bench import load, message
from bench.generator import generate
from bench.variants import COUNTS, Running, canned, providers
from bench.world import BenchError, World, wait_for_status, world

_CONNECTIONS = 16


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Rounds; medians are printed.")
@click.option("--seconds", default=2.0, show_default=True, help="Duration of one measurement.")
def main(rounds: int, seconds: float) -> None:
    """Measure and print a line for each number of providers."""
    try:
        with world() as surroundings:
            found = measure(surroundings, rounds, seconds)
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    click.echo("providers  Envoy's CPU per request  ratio to one provider (range)")
    for number, count in enumerate(COUNTS):
        ratios = [costs[number] / costs[0] for costs in found]
        cost = median(costs[number] for costs in found)
        click.echo(
            f"{count:9}  {cost:20.1f} µs  "
            f"{median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


def measure(surroundings: World, rounds: int, seconds: float) -> list[list[float]]:
    """Return the CPU microseconds per request for each of ``COUNTS``, round by round."""
    gateways = [_start(surroundings, count) for count in COUNTS]
    found = []
    for number in range(rounds + 1):
        # The order alternates, so that no gateway always follows the same other one.
        costs = [0.0] * len(gateways)
        for index in sorted(range(len(gateways)), reverse=bool(number % 2)):
            costs[index] = _cost(gateways[index], seconds)
        found.append(costs)
    # The first round fills the caches.
    return found[1:]


def _start(surroundings: World, count: int) -> Running:
    name = f"providers-{count}"
    running = canned(surroundings, name, providers=providers(surroundings, count))
    wait_for_status(running.port, message.request(surroundings.token), 200, [])
    return running


def _cost(gateway: Running, seconds: float) -> float:
    envoy = gateway.processes["envoy"]
    before = envoy.cpu_seconds()
    request = message.request("x").decode()
    outcome = generate(load.Job(gateway.port, request, _CONNECTIONS, seconds))
    return (envoy.cpu_seconds() - before) / outcome.requests * 1e6


if __name__ == "__main__":
    main(prog_name="python -m bench.providers")
