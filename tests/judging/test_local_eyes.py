"""Eyes from a folder, on tiny models of the same classes; nothing is downloaded."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, Dinov2Config, Dinov2Model

from tetrad.errors import TetradError
from tetrad.judging.eyes import TextEye, open_eye

_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def _save_clip(folder: Path) -> CLIPModel:
    torch.manual_seed(0)
    vision, text = CLIPVisionConfig(**_SIZES, image_size=32, patch_size=8), CLIPTextConfig(**_SIZES)
    configuration = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    network = CLIPModel(configuration).eval()
    _save(folder, network, configuration.to_dict())
    return network


def _save(folder: Path, network: nn.Module, configuration: dict[str, object]) -> None:
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(configuration, default=str), "utf-8")


def _images(count: int) -> list[Tensor]:
    return [torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(number)) for number in range(count)]


def test_clip_sees_and_reads_as_transformers_does(tmp_path: Path) -> None:
    network = _save_clip(tmp_path / "clip")
    eye = open_eye(tmp_path / "clip")
    assert isinstance(eye, TextEye)
    with torch.no_grad():
        seen, ids = eye.look(_images(3)), torch.tensor([[49406, 2368, 49407]])  # "cat"
        text = network.text_projection(network.text_model(input_ids=ids).last_hidden_state[:, 2])
    torch.testing.assert_close(eye.encode_texts(["cat"]), text / text.norm(dim=-1, keepdim=True))
    assert seen.shape == (3, 16)
    torch.testing.assert_close(seen.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(eye.look(_images(3)[1:2]), seen[1:2])  # an image is seen the same in every batch


def test_dinov2_gives_its_class_token(tmp_path: Path) -> None:
    torch.manual_seed(0)
    configuration = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28)
    network = Dinov2Model(configuration).eval()
    _save(tmp_path / "dino", network, configuration.to_dict())
    eye = open_eye(tmp_path / "dino")
    white = torch.ones(3, 224, 224)
    normalized = (white - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        token = network(normalized[None]).last_hidden_state[:, 0]
    torch.testing.assert_close(eye.look([white]), token / token.norm(dim=-1, keepdim=True))


def test_ccip_is_run_by_onnxruntime(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["input"], ["output"], axes=[2, 3], keepdims=0)]
    shape = ["batch", 3, 384, 384]
    graph = helper.make_graph(
        nodes,
        "ccip",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "model_feat.onnx")
    black = (-torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor([0.26862954, 0.26130258, 0.27577711])
    seen = open_eye(tmp_path).look([torch.zeros(3, 20, 20)])
    torch.testing.assert_close(seen, (black / black.norm())[None], atol=1e-3, rtol=0)  # a mean of 147,456 pixels


@pytest.mark.parametrize("configuration", [None, {"model_type": "bert"}])
def test_a_folder_without_a_known_eye_is_refused(tmp_path: Path, configuration: dict[str, str] | None) -> None:
    if configuration:
        (tmp_path / "config.json").write_text(json.dumps(configuration), "utf-8")
    with pytest.raises(TetradError, match=r"E5501.*CLIP or DINOv2"):
        open_eye(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _save_clip(tmp_path / "clip")
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "clip" / "model.safetensors")
    with pytest.raises(TetradError, match="E5009"):
        open_eye(tmp_path / "clip")
