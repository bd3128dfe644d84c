import pytest
import torch

from defocus_lib import shapley
from defocus_lib.batches import fitting
from defocus_lib.detector import Detector
from defocus_lib.training import predict


@pytest.mark.parametrize(("side", "images"), [(64, 87), (128, 21), (299, 4), (600, 1), (4000, 1)])
def test_a_processor_takes_fewer_of_larger_images(side, images):
    assert fitting(torch.zeros(1, 1, side, side)) == images


def test_another_device_takes_as_many_of_any_size():
    small, large = (torch.zeros(1, 3, side, side, device="meta") for side in (64, 299))
    assert fitting(small) == fitting(large) == 64


def test_large_images_are_explained_a_few_at_a_time():
    sizes = []

    def counted(batch):
        sizes.append(len(batch))
        return batch.mean((1, 2, 3))[:, None]

    shapley.shapley_values(counted, torch.rand(1, 1, 299, 299), torch.rand(3, 1, 299, 299), samples=10)
    assert sizes[:3] == [4, 4, 2]


def test_large_images_are_predicted_a_few_at_a_time_and_in_their_order(monkeypatch):
    model, sizes = Detector("test_resnet", "defocus"), []
    inputs = torch.rand(6, 1, 299, 299, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval().answer(inputs)
    answer = model.answer
    monkeypatch.setattr(model, "answer", lambda part: sizes.append(len(part)) or answer(part))
    logits, features = predict(model, inputs)
    assert sizes == [4, 2]
    torch.testing.assert_close((logits[:, None], features), expected)


def test_a_negative_batch_is_refused():
    with pytest.raises(ValueError, match="batch_size is -1"):
        shapley.shapley_values(torch.nn.Identity(), torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), batch_size=-1)
