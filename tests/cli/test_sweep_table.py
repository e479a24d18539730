"""A sweep ends with the table of its runs."""

from written_runs import write_run

from nmt.cli.sweep import show_table


def test_the_table_of_a_sweep(tmp_path, capsys):
    for seed, bleu in {1: 30.0, 2: 31.0}.items():
        write_run(tmp_path / f"seed_{seed}", {"name": "global"}, seed, bleu)
    older = write_run(tmp_path / "seed_1-2", {"name": "global"}, 1, 50.0, hour=-1)
    show_table(tmp_path)
    out = capsys.readouterr().out
    assert "| all | 1, 2 | 30.50 ± 0.71 (30.00 to 31.00) |" in out
    assert f"left out: {older}" in out


def test_a_sweep_without_runs_says_so(tmp_path, capsys):
    show_table(tmp_path)
    assert f"no table: no run directory below {tmp_path}" in capsys.readouterr().out
