import pytest

from defocus_lib.analysis import mask, paper_values

FACEFORENSICS = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]


def test_published_tables_agree_with_each_other():
    counts, sweep = paper_values.mask_counts(), paper_values.threshold_sweep()
    assert list(counts.index) == list(sweep.columns) == list(paper_values.COUNTERPART.values())
    assert counts.loc["Deepfakes", "share %"] == pytest.approx(10.01, abs=0.005)
    assert sweep.apply(lambda column: column.is_monotonic_increasing).all()
    assert (sweep.iloc[-1] < paper_values.PIXELS).all()


@pytest.mark.parametrize(
    ("names", "result"),
    [
        (["texture", "splice"], {"texture": "NeuralTextures", "splice": "FaceSwap"}),
        (FACEFORENSICS, dict(zip(FACEFORENSICS, FACEFORENSICS, strict=True))),
        (["FaceShifter", "Deepfakes"], {"Deepfakes": "Deepfakes"}),
        (["FaceShifter"], {}),
        ([], {}),
    ],
)
def test_counterparts(names, result):
    assert paper_values.counterpart(names) == result


def table(*names):
    return mask.count_table({name: [1, 2] for name in names}, pixels=10)


def test_published_rows_follow_ours():
    result = paper_values.beside(table("texture", "splice"), paper_values.mask_counts())
    assert result.index.tolist() == [
        ("this run", "texture"),
        ("this run", "splice"),
        (paper_values.SOURCE, "NeuralTextures"),
        (paper_values.SOURCE, "FaceSwap"),
    ]
    with pytest.raises(ValueError, match="columns"):
        paper_values.beside(table("splice"), paper_values.local_variance())


def test_a_run_on_the_same_data_stands_beside_the_authors_own():
    result = paper_values.beside(table("FaceSwap", "FaceShifter"), paper_values.mask_counts())
    assert result.index.tolist() == [
        ("this run", "FaceSwap"),
        ("this run", "FaceShifter"),
        (paper_values.SOURCE, "FaceSwap"),
    ]
    assert result["average"].tolist() == [1.5, 1.5, 6797.20]


def test_without_a_counterpart_ours_stand_alone_in_the_same_form():
    result = paper_values.beside(table("fake"), paper_values.mask_counts())
    assert result.index.tolist() == [("this run", "fake")] and result.index.names == [
        "data",
        "manipulation",
    ]


def test_a_counterpart_that_a_published_table_lacks_is_left_out():
    reported = paper_values.local_variance()
    run_table = reported.set_axis(["Face2Face"], axis="index").rename_axis("manipulation")
    assert paper_values.beside(run_table, reported).index.tolist() == [("this run", "Face2Face")]
