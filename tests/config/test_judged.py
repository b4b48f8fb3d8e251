"""What to judge a network by: a folder, or a YAML file; and whose noise counts."""

from pathlib import Path

from graphopt.config.judged import read_judged


def test_a_folder_has_the_usual_noise(tmp_path: Path) -> None:
    found = read_judged(tmp_path, None)
    assert (found.test, found.sigma, found.noise) == ([tmp_path], 25, "gaussian")
    assert read_judged(tmp_path, 0).sigma == 0


def test_a_file_says_what_and_with_which_noise(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("steps: 3\ndata: {test: [photos], sigma: 15, train: [others]}\n")
    found = read_judged(tmp_path / "a.yaml", None)
    assert (found.test, found.sigma) == ([tmp_path / "photos"], 15)
    other = read_judged(tmp_path / "a.yaml", 50)
    assert (other.test, other.sigma) == ([tmp_path / "photos"], 50)


def test_a_sigma_replaces_the_noise_of_a_sensor(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("data: {test: [photos], noise: bayer}\n")
    assert read_judged(tmp_path / "a.yml", None).is_packed
    found = read_judged(tmp_path / "a.yml", 10)
    assert (found.is_packed, found.noise, found.sigma) == (False, "gaussian", 10)
