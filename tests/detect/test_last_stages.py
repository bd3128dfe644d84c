import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from defocus_lib.detect import in_memory
from defocus_lib.detect.in_memory import Examples
from defocus_lib.detect.last_stages import LastStages, first_features
from defocus_lib.detect.model import Detector
from defocus_lib.detect.plan import Plan

SMALL = "test_efficientnet"
FIRST = 2


def planes(channels, number=5):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(number, channels, 32, 32, generator=generator)


def kept_of(inputs, seeds):
    """Features of photographs and maps, in the order of a fusion detector's branches."""
    parts = inputs.split([3, 1], dim=1) if inputs.shape[1] == 4 else [inputs]
    return [
        first_features(Detector(SMALL, reads, seed=seed), TensorDataset(part), FIRST)
        for reads, part, seed in zip(("rgb", "defocus"), parts, seeds, strict=False)
    ]


@pytest.mark.slow
def test_kept_features_give_the_logits_of_the_whole_detector():
    detector, inputs = Detector(SMALL, "rgb", seed=3).eval(), planes(3)
    kept = torch.from_numpy(kept_of(inputs, [3])[0]).float()
    with torch.no_grad():
        # Features are kept in half precision.
        torch.testing.assert_close(
            LastStages(detector, FIRST)(kept), detector(inputs), rtol=1e-2, atol=1e-3
        )


def test_a_fusion_detector_reads_the_features_of_both_branches():
    detector, inputs = Detector(SMALL, "fusion", seed=3).eval(), planes(4)
    for reads, branch in (("rgb", detector.rgb_branch), ("defocus", detector.defocus_branch)):
        single = Detector(SMALL, reads, seed=3).classifier.state_dict()
        branch.load_state_dict({name: single[name] for name in branch.state_dict()})
    kept = torch.from_numpy(np.concatenate(kept_of(inputs, [3, 3]), axis=1)).float()
    with torch.no_grad():
        torch.testing.assert_close(
            LastStages(detector, FIRST)(kept), detector(inputs), rtol=1e-2, atol=1e-3
        )


def test_training_leaves_the_first_blocks_as_they_are():
    detector = Detector(SMALL, "rgb", seed=1)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    features = first_features(detector, TensorDataset(planes(3, 8)), FIRST)
    labels = np.array([0, 1] * 4, np.float32)
    examples = Examples((features,), (np.arange(8),), labels)
    plan = Plan(1, 4, 1e-2, precision="32-true", monitor="val_auc", accelerator="cpu", seed=0)
    in_memory.fit(LastStages(detector, FIRST), examples, examples, plan)
    after = detector.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    first = ("classifier.conv_stem.", "classifier.bn1.", "classifier.blocks.0.")
    assert changed and not any(name.startswith(first) for name in changed)
    assert "classifier.classifier.weight" in changed
    # The whole detector now says what its last stages learned to say.
    logits = in_memory.logits(LastStages(detector, FIRST), examples)
    with torch.no_grad():
        whole = detector.eval()(planes(3, 8))[:, 0]
    torch.testing.assert_close(whole, logits, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("backbone", "first", "message"),
    [
        ("test_resnet", 1, "the stages of backbone 'test_resnet' are not known; an EfficientNet"),
        (SMALL, 0, "first is 0; 1 to . blocks of test_efficientnet wanted"),
    ],
)
def test_a_backbone_whose_stages_are_not_known_is_refused(backbone, first, message):
    with pytest.raises(ValueError, match=message):
        LastStages(Detector(backbone, "rgb"), first)
