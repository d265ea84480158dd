import io
import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantlab.errors import InputError, UsageError

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'quantlab[qat]'")

from quantlab.qat.state_dicts import read_quantizers  # noqa: E402 - after torch is known to be there
from tests.qat.quantizer_goldens import (  # noqa: E402
    MODELOPT_SAVED,
    PYTORCH_QUANTIZATION,
    same_rows,
    state_of,
)
from tests.qat.quantizer_networks import chain, images  # noqa: E402


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "amax of nan"), (float("inf"), "amax of inf"), (-1.0, "negative amax -1.0"), (0.0, "an amax of 0")],
)
@pytest.mark.parametrize("name", ["up._input_quantizer._amax", "up._weight_quantizer._amax"])
def test_an_amax_that_no_scale_can_be_made_of_is_refused_with_its_tensor(name: str, value: float, said: str) -> None:
    state = state_of()
    state[name] = state[name].clone()
    state[name].view(-1)[-1] = value
    tensor = "/relu/Relu_output_0" if "input" in name else "up.weight"
    with pytest.raises(InputError, match=f"«{name[:-6]}» of tensor «{tensor}» has .*{said}"):
        read_quantizers(state, chain(), images())


def test_a_weight_channel_of_zeros_may_have_an_amax_of_zero() -> None:
    state = state_of()
    state["fc.weight"] = state["fc.weight"].clone()
    state["fc.weight"][2] = 0
    state["fc._weight_quantizer._amax"] = state["fc._weight_quantizer._amax"].clone()
    state["fc._weight_quantizer._amax"][2] = 0
    found = read_quantizers(state, chain(), images())
    assert found.table["fc.weight"].scale[2] > 0


def test_one_amax_for_a_whole_weight_counts_for_each_channel() -> None:
    state = state_of()
    state["fc._weight_quantizer._amax"] = torch.tensor(2.0)
    row = read_quantizers(state, chain(), images()).table["fc.weight"]
    assert row.axis == 0
    assert row.scale == (float(np.float32(2) / np.float32(127)),) * 5


def test_an_amax_in_half_precision_is_taken_as_it_is() -> None:
    state = state_of()
    state["fc._input_quantizer._amax"] = torch.tensor(1.5, dtype=torch.float16)
    assert read_quantizers(state, chain(), images()).table["/Flatten_output_0"].scale == (float(np.float32(1.5 / 127)),)


def test_an_unsigned_quantizer_keeps_its_range_and_says_so() -> None:
    name = "fc._input_quantizer"
    plain = read_quantizers(state_of(), chain(), images())
    found = read_quantizers(state_of(), chain(), images(), unsigned=(name,))
    assert same_rows(found.table, plain.table)
    assert any(name in note and "half the resolution" in note for note in found.notes)
    with pytest.raises(UsageError, match="«nothing» is no quantizer"):
        read_quantizers(state_of(), chain(), images(), unsigned=("nothing",))


def test_a_learned_symmetric_range_counts_instead_of_the_amax() -> None:
    state = state_of()
    state["fc._input_quantizer.clip.clip_value_min"] = torch.tensor(-3.0)
    state["fc._input_quantizer.clip.clip_value_max"] = torch.tensor(3.0)
    assert read_quantizers(state, chain(), images()).table["/Flatten_output_0"].scale[0] == np.float32(3) / np.float32(
        127
    )


def test_quantizers_that_do_more_than_int8_are_listed_with_the_reason() -> None:
    state = state_of()
    state["fc._input_quantizer.clip.clip_value_min"] = torch.tensor(-1.0)
    state["fc._input_quantizer.clip.clip_value_max"] = torch.tensor(3.0)
    state["up._input_quantizer._pre_quant_scale"] = torch.ones(8)
    state["depthwise._weight_quantizer._amax"] = torch.ones(8, 1, 3, 1)
    state["average._input_quantizer._amax"] = torch.ones(1, 4, 1, 1)
    state["elsewhere.residual_quantizer._amax"] = torch.tensor(1.0)
    found = read_quantizers(state, chain(), images())
    reasons = {
        "fc._input_quantizer": "not symmetric",
        "up._input_quantizer": "SmoothQuant",
        "depthwise._weight_quantizer": "not one a channel",
        "average._input_quantizer": "one a channel",
        "elsewhere.residual_quantizer": "the network has no module",
    }
    assert found.unmatched.keys() == reasons.keys()
    assert all(part in found.unmatched[name] for name, part in reasons.items())


def test_modelopt_says_itself_what_is_unsigned_or_of_other_bits() -> None:
    content = torch.load(MODELOPT_SAVED, weights_only=True)
    known = content["modelopt_state"]["modelopt_state_dict"][-1][1]["metadata"]["quantizer_state"]
    known["fc.input_quantizer"]["_unsigned"] = True
    known["fc.weight_quantizer"]["_num_bits"] = 4
    found = read_quantizers(content, chain(), images())
    assert any("fc.input_quantizer" in note for note in found.notes)
    assert found.unmatched == {"fc.weight_quantizer": "it has 4 bits, and INT8 has 8"}


def test_names_of_distributed_and_compiled_networks_are_understood() -> None:
    state = {f"module._orig_mod.{name}": value for name, value in state_of().items()}
    plain = read_quantizers(state_of(), chain(), images())
    assert same_rows(read_quantizers({"epoch": 3, "model": state}, chain(), images()).table, plain.table)


def test_a_checkpoint_of_another_network_is_refused() -> None:
    state = state_of()
    with pytest.raises(InputError, match=r"«fc\.weight» has the shape \[5, 3\].*\[5, 4\]"):
        read_quantizers(state | {"fc.weight": torch.zeros(5, 3)}, chain(), images())
    with pytest.raises(InputError, match="has «extra», which the network has not"):
        read_quantizers(state | {"extra": torch.zeros(5)}, chain(), images())
    with pytest.raises(InputError, match=r"lacks weights of the network: «fc\.bias»"):
        read_quantizers({k: v for k, v in state.items() if k != "fc.bias"}, chain(), images())
    with pytest.raises(InputError, match=r"has 7 amax for the 5 channels of «fc\.weight»"):
        read_quantizers(state | {"fc._weight_quantizer._amax": torch.ones(7, 1)}, chain(), images())


def test_a_network_that_has_quantizers_already_is_refused() -> None:
    network = chain()
    network.add_module("quantizer", torch.ao.quantization.FakeQuantize())
    with pytest.raises(UsageError, match="has the quantizer «quantizer»"):
        read_quantizers(PYTORCH_QUANTIZATION, network, images())


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.target,)

    def __init__(self, target: str) -> None:
        self.target = target


def _archive(**entries: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return held.getvalue()


def _saved(content: object, *, old: bool = False) -> bytes:
    held = io.BytesIO()
    torch.save(content, held, _use_new_zipfile_serialization=not old)
    return held.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not a checkpoint"),
        (b"\x80\x04nothing", "is not a checkpoint"),
        (b"PK\x03\x04" + b"\0" * 40, "is not a checkpoint"),
        (_archive(data=b"\0" * 20_000_000), "unpacks to 20,000,000"),
        (_saved([1, 2]), "holds a list, not a checkpoint"),
        (_saved({"weight": torch.ones(2)}), "holds no quantizer"),
        (_saved({"a.input_quantizer._amax": torch.ones(1).expand(1 << 40)}), "is no tensor of float numbers"),
        (_saved({"a.input_quantizer._amax": torch.ones(1, dtype=torch.int64)}), "is no tensor of float numbers"),
        (_saved({"a.input_quantizer._amax": torch.ones(0)}), "is no tensor of float numbers"),
    ],
    ids=["empty", "noise", "zip", "bomb", "list", "no quantizer", "huge", "integers", "none"],
)
def test_a_file_that_is_no_checkpoint_gets_one_sentence(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=said) as caught:
        read_quantizers(path, chain(), images())
    assert "\n" not in str(caught.value)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    state = OrderedDict(state_of())
    state["other"] = _Bomb(str(made))
    for name, data in {"zip.pt": _saved(state), "old.pt": _saved(_Bomb(str(made)), old=True)}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=f"{name}.*nothing in it is run"):
            read_quantizers(tmp_path / name, chain(), images())
    assert not made.exists()


def test_a_name_that_goes_on_for_ever_is_read_in_no_time() -> None:
    with pytest.raises(InputError, match="which the network has not"):
        read_quantizers(state_of() | {"quantizer." * 100_000: torch.ones(1)}, chain(), images())


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        read_quantizers(tmp_path, chain(), images())
    with pytest.raises(InputError, match="There is no file"):
        read_quantizers(tmp_path / "absent.pt", chain(), images())


def test_names_in_a_file_are_escaped() -> None:
    found = read_quantizers(state_of() | {"a\x1b[2J\n.input_quantizer._amax": torch.tensor(1.0)}, chain(), images())
    [(name, reason)] = found.unmatched.items()
    assert name.isprintable()
    assert reason.isprintable()
