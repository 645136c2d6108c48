"""`adana fit` on run directories and on tables."""

import json

import pytest

from adana.cli import main
from adana.runs import CONFIG_VERSION, Run, write_json
from tests.laws.anchors import anchor_curves

PARAMETERS, TOKENS = 1000, 20_000


def run_of(folder, name, *, optimizer, size, loss, lr=0.01, seed=0):
    """Write a finished run as `adana train` leaves it, `size` times the smallest compute."""
    run = Run(folder / name)
    run.create()
    entry = {"name": optimizer, "label": optimizer, "lr": lr}
    write_json(
        run.path / "config.json",
        {
            **{"version": CONFIG_VERSION, "optimizer": entry, "seed": seed, "steps": 10 * size},
            "model": {"size": size},
        },
    )
    flops = 6.0 * PARAMETERS * TOKENS * size
    summary = {
        "val_loss": loss,
        "tokens": TOKENS * size,
        "non_embedding_parameters": PARAMETERS,
        "compute": flops / 3.6e18,
        "seconds": 2.0 * size,
        "flops": {"6PD": flops, "M": 2 * flops},
    }
    write_json(run.path / "summary.json", summary)
    run.set_status("finished", step=10 * size)


@pytest.fixture
def ladder(tmp_path):
    """Two optimizers, four sizes, two seeds, and one learning rate that is worse."""
    for size in (1, 3, 9, 27):
        for optimizer, gain in (("adamw", 1.0), ("adana", 1.4)):
            for seed in (0, 1):
                loss = 1.5 + 2 * (gain * size) ** -0.2 + 0.001 * (-1) ** (seed + size)
                name = f"{optimizer}-{size}-{seed}"
                run_of(tmp_path, name, optimizer=optimizer, size=size, loss=loss, seed=seed)
                worse = f"{optimizer}-{size}-{seed}-fast"
                run_of(
                    *(tmp_path, worse),
                    **{"optimizer": optimizer, "size": size, "loss": loss + 0.5, "lr": 0.1},
                    seed=seed,
                )
    return tmp_path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "anchors.csv"
    rows = [
        f"{curve.name},{point.compute},{point.mean}"
        for curve in anchor_curves()
        for point in curve.points
    ]
    path.write_text("\n".join(["optimizer,compute,loss", *rows]) + "\n")
    return path


def fit(*words):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, words), "--bootstrap", "50"])
    return ended.value.code


def test_runs_give_the_multiplier_at_the_best_learning_rate(ladder, tmp_path, capsys):
    output = tmp_path / "fit.json"
    assert fit(ladder, "--output", output) == 0
    found = json.loads(output.read_text())
    fitted, piecewise = found["multipliers"]
    assert fitted["value"] == pytest.approx([1.4] * 4, abs=0.05)
    assert piecewise["value"][:2] == pytest.approx([1.4] * 2, abs=0.1)
    assert piecewise["value"][-1] is None
    assert all(len(point["losses"]) == 2 for point in found["curves"]["adana"])
    said = capsys.readouterr().out
    assert "lr 0.01 of 2 tried" in said
    assert "at the edge of its grid" in said


@pytest.mark.parametrize(
    ("axis", "first"), [("tokens", 20_000), ("seconds", 2.0), ("flops-M", 2 * 1.2e8 / 3.6e18)]
)
def test_the_axis_may_be_tokens_seconds_or_another_count_of_flops(ladder, tmp_path, axis, first):
    output = tmp_path / "fit.json"
    assert fit(ladder, "--axis", axis, "--output", output) == 0
    assert json.loads(output.read_text())["curves"]["adamw"][0]["compute"] == pytest.approx(first)


def test_a_table_with_one_seed_takes_its_noise_from_the_residuals(table, capsys):
    assert fit(table, "--method", "least-squares") == 0
    said = capsys.readouterr().out
    assert "0.197" in said
    assert "not identified" in said
    assert "every point has one seed" in said


def test_too_few_sizes_for_a_law_leave_the_piecewise_multiplier(tmp_path, capsys):
    for size, loss in ((1, 3.5), (4, 3.0)):
        run_of(tmp_path, f"a{size}", optimizer="adamw", size=size, loss=loss)
        run_of(tmp_path, f"b{size}", optimizer="adana", size=size, loss=loss - 0.1)
    assert fit(tmp_path) == 0
    said = capsys.readouterr().out
    assert "no law: " in said
    assert "M piecewise" in said


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--baseline", "sgd"], 1, "Name"),
        (["--saturation", "none"], 2, "number of nats"),
        (["--axis", "steps"], 2, "no value for steps"),
    ],
)
def test_a_wrong_argument_says_what_was_expected(table, capsys, words, code, message):
    assert fit(table, *words) == code
    assert message in capsys.readouterr().err


def test_the_chinchilla_form_takes_a_table_of_sizes_and_tokens(tmp_path, capsys):
    path, output = tmp_path / "runs.csv", tmp_path / "fit.json"
    rows = [
        f"adamw,{n},{d},{1.8 + 480 * n**-0.35 + 2100 * d**-0.37}"
        for n in (1e8, 4e8, 1.6e9, 6.4e9)
        for d in (2e9, 1e10, 5e10)
    ]
    path.write_text("\n".join(["optimizer,parameters,tokens,loss", *rows]) + "\n")
    assert fit(path, "--form", "chinchilla", "--output", output) == 0
    law = json.loads(output.read_text())["fits"]["adamw"]["law"]
    assert (law["alpha"], law["beta"]) == pytest.approx((0.35, 0.37), rel=0.01)
    assert "best model size grows" in capsys.readouterr().out


def test_a_folder_without_finished_runs_is_refused(tmp_path, capsys):
    assert fit(tmp_path) == 1
    assert "there is no run directory" in capsys.readouterr().err


# --- the same choice as the report's --------------------------------------------------------------


def curves(output):
    return json.loads(output.read_text())["curves"]


def test_a_folder_named_twice_counts_its_runs_once(ladder, tmp_path):
    output = tmp_path / "fit.json"
    assert fit(ladder, ladder, "--output", output) == 0
    assert all(len(point["losses"]) == 2 for point in curves(output)["adana"])


def test_a_rate_at_which_a_seed_diverged_cannot_win(ladder, tmp_path):
    for size in (1, 3, 9, 27):
        run_of(ladder, f"lucky-{size}", optimizer="adana", size=size, loss=0.5, lr=0.03, seed=0)
        run_of(ladder, f"lost-{size}", optimizer="adana", size=size, loss=0.5, lr=0.03, seed=1)
        lost = Run(ladder / f"lost-{size}")
        (lost.path / "summary.json").unlink()
        lost.set_status("diverged", step=1)
    output = tmp_path / "fit.json"
    assert fit(ladder, "--output", output) == 0
    assert min(loss for point in curves(output)["adana"] for loss in point["losses"]) > 1.5


def lose(folder, *, state="diverged", **about):
    """Write a run that ended in `state`, without a result."""
    name = "-".join(map(str, about.values()))
    run_of(folder, name, **{"loss": 0.5, "lr": 0.01} | about)
    (folder / name / "summary.json").unlink()
    Run(folder / name).set_status(state, step=1)


def said_and_written(folder, tmp_path, capsys):
    output = tmp_path / "fit.json"
    assert fit(folder, "--output", output) == 0
    return " ".join(capsys.readouterr().out.split()), json.loads(output.read_text())["left_out"]


def test_an_optimizer_that_diverged_at_all_rates_is_named_as_left_out(ladder, tmp_path, capsys):
    for lr in (0.01, 0.02):
        lose(ladder, optimizer="lion", size=9, lr=lr)
    lose(ladder, optimizer="lion", size=27, state="failed")
    said, written = said_and_written(ladder, tmp_path, capsys)
    sizes = [text for text in written if text.startswith("lion")]
    assert len(sizes) == 2
    text = next(text for text in sizes if ", 90 steps" in text)
    assert text.endswith("is left out, no rate has a result: 2 runs diverged (lr 0.01, 0.02)")
    assert any(text.endswith("1 run failed (lr 0.01)") for text in sizes)
    assert text in said


def test_runs_that_do_not_count_beside_those_that_do_are_told(ladder, tmp_path, capsys):
    lose(ladder, optimizer="adana", size=9, seed=1, lr=0.2)
    lose(ladder, optimizer="adana", size=9, seed=2, state="interrupted")
    said, written = said_and_written(ladder, tmp_path, capsys)
    (text,) = written
    assert text.endswith("1 run did not finish (lr 0.01); 1 run diverged (lr 0.2), not counted")
    assert text in said


def test_runs_with_other_settings_are_told(ladder, tmp_path, capsys):
    run_of(ladder, "other", optimizer="adana", size=9, loss=0.5, seed=0)
    path = ladder / "other" / "config.json"
    config = json.loads(path.read_text())
    config["optimizer"]["kappa"] = 0.9
    write_json(path, config)
    _, (text,) = said_and_written(ladder, tmp_path, capsys)
    assert text.endswith("1 run has another kappa than at most sizes, not counted")


def test_where_nothing_finished_the_message_says_what_was_left_out(tmp_path, capsys):
    lose(tmp_path, optimizer="adana", size=1)
    assert fit(tmp_path) == 1
    assert "adana at a model without a finished run" in capsys.readouterr().err


def test_one_optimizer_with_one_size_takes_no_law_from_the_others(ladder, capsys):
    run_of(ladder, "late", optimizer="dana-star", size=1, loss=3.4)
    assert fit(ladder) == 0
    said = capsys.readouterr().out
    assert "dana-star has one size only: no law of it" in said
    assert "no law: " not in said


def test_a_run_that_does_not_say_where_it_lies_is_named(ladder, capsys):
    path = ladder / "adana-3-0" / "summary.json"
    summary = json.loads(path.read_text())
    del summary["seconds"]
    write_json(path, summary)
    assert fit(ladder, "--axis", "seconds") == 1
    assert "run adana-3-0 has no seconds in its summary.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"), [(["--level", "90"], "--level"), (["--bootstrap", "-1"], "--bootstrap")]
)
def test_a_level_in_per_cent_is_refused_before_anything_is_printed(table, capsys, words, message):
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(table), *words])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


# --- tables ---------------------------------------------------------------------------------------


def write(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_seconds_differ_between_the_seeds_of_one_size(tmp_path):
    rows = ["optimizer,size,seconds,loss,seed,lr"]
    for name, gain in (("adamw", 0.0), ("adana", 0.1)):
        for size, loss in ((1, 3.5), (2, 3.2), (4, 3.0)):
            for seed in (0, 1):
                for lr, worse in ((0.01, 0.0), (0.1, 0.5)):
                    seconds, end = 100 * size + seed, loss - gain + worse + 0.001 * seed
                    rows.append(f"{name},{size},{seconds},{end},{seed},{lr}")
    output = tmp_path / "fit.json"
    assert fit(write(tmp_path / "t.csv", *rows), "--axis", "seconds", "--output", output) == 0
    found = curves(output)["adamw"]
    assert [point["compute"] for point in found] == [100.5, 200.5, 400.5]
    assert [len(point["losses"]) for point in found] == [2, 2, 2]


@pytest.mark.parametrize("first", [0, 1])
def test_a_loss_that_is_no_number_loses_wherever_it_stands(tmp_path, first):
    rows = ["adamw,1,nan,0.1", "adamw,1,3.5,0.01"]
    rows = [*(rows if first else rows[::-1]), "adamw,2,3.0,0.01", "adamw,4,2.8,0.01"]
    output = tmp_path / "fit.json"
    table = write(tmp_path / "t.csv", "optimizer,compute,loss,lr", *rows)
    assert fit(table, "--output", output) == 0
    assert curves(output)["adamw"][0]["losses"] == [3.5]


def test_a_seed_counts_once_in_a_table(tmp_path, capsys):
    rows = ["optimizer,compute,loss,seed", "adamw,1,3.5,0", "adamw,1,3.5,0"]
    assert fit(write(tmp_path / "t.csv", *rows)) == 2
    assert "has a seed twice for adamw" in capsys.readouterr().err


def test_a_copy_of_a_row_is_no_second_seed(tmp_path, capsys):
    rows = ["optimizer,compute,loss", "adamw,1,3.5", "adamw,1,3.4", "adamw,1,3.5"]
    assert fit(write(tmp_path / "t.csv", *rows)) == 2
    assert "has the loss 3.5 twice for adamw" in capsys.readouterr().err


def test_a_row_that_diverged_is_told(tmp_path, capsys):
    rows = [f"{name},{c},{3 * c**-0.07}" for name in ("adamw", "adana") for c in (1, 2, 4)]
    table = write(tmp_path / "t.csv", "optimizer,compute,loss", *rows, "adana,27,nan")
    said, (text,) = said_and_written(table, tmp_path, capsys)
    assert text.startswith("adana at compute 27 (")
    assert text.endswith("is left out, no rate has a mean loss: 1 row without a finite loss")
    assert text in said


def test_the_chinchilla_form_says_what_was_left_out(tmp_path, capsys):
    rows = [
        f"adamw,{n},{d},{1.8 + 480 * n**-0.35 + 2100 * d**-0.37}"
        for n in (1e8, 4e8, 1.6e9, 6.4e9)
        for d in (2e9, 1e10, 5e10)
    ]
    path = write(tmp_path / "t.csv", "optimizer,parameters,tokens,loss", *rows, "lion,1e8,1e9,inf")
    output = tmp_path / "fit.json"
    assert fit(path, "--form", "chinchilla", "--output", output) == 0
    (text,) = json.loads(output.read_text())["left_out"]
    assert "lion at parameters 1e8, tokens 1e9" in text
    assert text in " ".join(capsys.readouterr().out.split())


def test_two_diverged_rows_are_no_copies(tmp_path):
    rows = ["adamw,1,0.1,inf", "adamw,1,0.1,inf", "adamw,1,0.01,3.5", "adamw,2,0.01,3.0"]
    table = write(tmp_path / "t.csv", "optimizer,compute,lr,loss", *rows, "adamw,4,0.01,2.8")
    assert fit(table, "--output", tmp_path / "fit.json") == 0


def test_extrapolated_multipliers_are_not_judged(tmp_path, capsys):
    rows = [f"adamw,{c},{s},{3 * c**-0.07 + s * 0.001}" for c in (1, 2, 4) for s in (0, 1)]
    rows += [f"adana,{c},{s},{2.9 * c**-0.07 + s * 0.001}" for c in (1, 2, 9) for s in (0, 1)]
    table = write(tmp_path / "t.csv", "optimizer,compute,seed,loss", *rows)
    assert fit(table, "--extrapolate", "--output", tmp_path / "fit.json") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "extrapolated" in out
    assert "at all 3 computes" not in out
    assert "at all 2 computes" in out


def test_two_sizes_at_one_place_of_the_axis_are_named(ladder, capsys):
    run_of(ladder, "wide", optimizer="adamw", size=5, loss=2.9)
    path = ladder / "wide" / "summary.json"
    summary = json.loads(path.read_text())
    write_json(path, {**summary, "seconds": 2.0})
    assert fit(ladder, "--axis", "seconds") == 1
    assert "have the same seconds" in capsys.readouterr().err
