"""Whatever people, machines and intruders do, in whatever order: the rules hold. 10,000 of these: a benchmark."""

from pathlib import Path

from registry_actions.comparison import compare_on_fake, registry_in

SEQUENCES = 20


def test_random_sequences_come_to_what_the_model_says(database_url: str, tmp_path: Path) -> None:
    """Outcomes, aliases, records and what serves are as the rules want them after every step, for each seed."""
    checks = 0
    with registry_in(tmp_path, database_url) as database:
        for seed in range(SEQUENCES):
            home = tmp_path / str(seed)
            home.mkdir()
            checks += compare_on_fake(seed, database, tmp_path, home)[1]
    assert checks > 100 * SEQUENCES
