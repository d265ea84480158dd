"""Which images a source names, in which order, and their labels."""

from pathlib import Path

import pytest

from quantlab.data.listing import list_images
from quantlab.errors import InputError, UsageError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(source: Path) -> list[str]:
    return [file.name for file in list_images(source, None)]


def labels(source: Path, pattern: str | None = None) -> list[int | None]:
    return [file.label for file in list_images(source, pattern)]


# ---- folders


def test_a_folder_is_sorted_by_relative_path(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a/z.JPG", "a.png", "a/b/c.webp", "Z.bmp")
    assert names(tmp_path) == ["Z.bmp", "a.png", "a/b/c.webp", "a/z.JPG", "b.png"]


def test_other_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "labels.txt", ".a.png", ".cache/b.png", "c.png.part")
    assert names(tmp_path) == ["a.png"]


def test_linked_files_and_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "cat/a.png", "dog/b.png")
    data = touch(tmp_path / "data", "cat/c.png")
    (data / "dog").symlink_to(tmp_path / "elsewhere" / "dog")
    (data / "cat" / "d.png").symlink_to(tmp_path / "elsewhere" / "cat" / "a.png")
    (data / "cat" / "again").symlink_to(data)
    (data / "cat" / "self").symlink_to(data / "cat")
    assert names(data) == ["cat/c.png", "cat/d.png", "dog/b.png"]


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "b/y.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    assert names(tmp_path) == ["a/to_b/y.png", "a/x.png", "b/to_a/x.png", "b/y.png"]


def test_class_folders_give_their_place_as_label(tmp_path: Path) -> None:
    touch(tmp_path, "tench/2.png", "cock/9.png", "cock/deep/1.png")
    assert labels(tmp_path) == [0, 0, 1]


def test_folders_named_by_numbers_give_their_number_as_label(tmp_path: Path) -> None:
    touch(tmp_path, "0009/a.png", "12/a.png", "100/a.png")
    assert labels(tmp_path) == [9, 100, 12]
    touch(tmp_path / "one", "7/a.png")
    assert labels(tmp_path / "one") == [7]


def test_images_beside_folders_have_no_labels(tmp_path: Path) -> None:
    assert labels(touch(tmp_path, "0/a.png", "1/a.png", "b.png")) == [None, None, None]


def test_a_single_folder_is_no_class(tmp_path: Path) -> None:
    assert labels(touch(tmp_path, "photos/a.png", "photos/b.png")) == [None, None]


def test_a_pattern_reads_labels_from_file_names(tmp_path: Path) -> None:
    touch(tmp_path, "cat/0012_n01440764.png", "dog/0003_x.png")
    assert labels(tmp_path, r"^(\d+)_") == [12, 3]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no image in .*; images end in \.avif, \.bmp"):
        list_images(touch(tmp_path, "readme.txt"), None)
    with pytest.raises(InputError, match=r"for arrays, give the file itself, '.*a\.npz'"):
        list_images(touch(tmp_path, "a.npz"), None)


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no folder, list or manifest .*gone"):
        list_images(tmp_path / "gone", None)


# ---- lists


def test_a_list_keeps_its_order_and_is_relative_to_its_folder(tmp_path: Path) -> None:
    outside = touch(tmp_path, "o.png") / "o.png"
    data = touch(tmp_path / "data", "b.png", "a b.png")
    (data / "order.txt").write_text(f"\ufeff# chosen\nb.png\n\n  a b.png  \r\nb.png\n../o.png\n{outside}\n")
    files = list_images(data / "order.txt", None)
    assert [file.name for file in files] == ["b.png", "a b.png", "b.png", "../o.png", str(outside)]
    assert all(file.path.is_file() for file in files)


def test_a_sequence_of_paths_is_a_list(tmp_path: Path) -> None:
    touch(tmp_path, "3_a.png", "1_b.png")
    assert [file.label for file in list_images([tmp_path / "3_a.png", str(tmp_path / "1_b.png")], r"(\d)_")] == [3, 1]


def test_an_image_given_as_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a single image: give its folder"):
        list_images(touch(tmp_path, "a.png") / "a.png", None)


def test_a_list_without_paths_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(InputError, match="There is no image in"):
        list_images(tmp_path / "list.txt", None)


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a list of images"):
        list_images(tmp_path / "list.txt", None)


# ---- manifests


@pytest.mark.parametrize(
    "text", ["path,label\na.png,3\nb.png,-1\n", 'label,note,path\r\n3,x,"a.png"\r\n\r\n-1,"two\r\nlines",b.png\r\n']
)
def test_a_manifest_gives_paths_and_labels(tmp_path: Path, text: str) -> None:
    (tmp_path / "eval.csv").write_bytes(text.encode())
    files = list_images(tmp_path / "eval.csv", None)
    assert [(file.path, file.name, file.label) for file in files] == [
        (tmp_path / "a.png", "a.png", 3),
        (tmp_path / "b.png", "b.png", -1),
    ]


def test_a_manifest_without_labels_may_have_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text("path\n5_a.png\n")
    assert labels(tmp_path / "eval.csv") == [None]
    assert labels(tmp_path / "eval.csv", r"(\d)_") == [5]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must begin with the header «path,label», not ''"),
        ("a.png,3\n", "must begin with the header «path,label», not 'a.png,3'"),
        ("path,label\na.png\n", "line 2: the label must be an integer, not ''"),
        ("path,label\na.png,1\nb.png,cat\n", "line 3: the label must be an integer, not 'cat'"),
        ("path,label\na.png,99999999999999999999\n", "line 2: the label 9+ does not fit into 64 bits"),
        ("path,label\n,1\n", "line 2: there is no path"),
        ('path,label\n"a.png,1\n', "is damaged after line 1: unexpected end of data"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "eval.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        list_images(tmp_path / "eval.csv", None)


def test_labels_from_two_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eval.csv").write_text("path,label\n5_a.png,1\n")
    with pytest.raises(UsageError, match="holds labels already: give no label pattern"):
        list_images(tmp_path / "eval.csv", r"(\d)_")


# ---- patterns


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [("(", "is no regular expression"), (r"\d+", "has 0 groups; give one"), (r"(\d)(\d)", "has 2 groups; give one")],
)
def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path, pattern: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        list_images(touch(tmp_path, "1_a.png"), pattern)


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [(r"^(\d+)_", "does not fit the file name of .*x.png"), ("^(.)", "x.png: the label must be an integer, not 'x'")],
)
def test_a_file_that_the_pattern_does_not_fit_is_named(tmp_path: Path, pattern: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        list_images(touch(tmp_path, "1_a.png", "x.png"), pattern)


def test_names_that_are_no_unicode_can_be_shown(tmp_path: Path) -> None:
    try:
        touch(tmp_path, b"\xff.png".decode("utf-8", "surrogateescape"))
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert names(tmp_path) == [r"\udcff.png"]
