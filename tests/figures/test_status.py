from defocus_lib.figures import status as figures

GRAPH = {
    "01_data": {"reads": [], "writes": ["records.parquet"]},
    "02_maps": {
        "reads": ["records.parquet"],
        "writes": ["maps.json", "stages/02_maps.csv", "claims/02_maps.json"],
    },
    "05_mask": {"reads": ["maps.json"], "writes": ["claims/05_mask.json"]},
    "status": {
        "reads": ["claims/02_maps.json", "claims/05_mask.json", "runs/02_maps.json"],
        "writes": ["claims.md"],
    },
}


def test_files_of_every_notebook_share_a_row():
    graph = figures.files_of_all(GRAPH)
    assert graph["02_maps"]["writes"] == ["maps.json", "stages/*.csv", "claims/*.json"]
    assert graph["status"]["reads"] == ["claims/*.json", "runs/*.json"]


def test_every_file_has_its_writers_and_readers():
    bars, ax = figures.provenance(GRAPH, {"01_data": 60, "02_maps": 30}).axes
    assert [bar.get_height() for bar in bars.patches] == [1, 0.5, 0, 0]
    files = [label.get_text() for label in ax.get_yticklabels()]
    notebooks = [label.get_text() for label in ax.get_xticklabels()]
    points = {
        line.get_label(): {
            (files[int(y)], notebooks[int(x)]) for x, y in zip(*line.get_data(), strict=True)
        }
        for line in ax.lines
    }
    assert points == {
        "written by": {
            ("records.parquet", "01_data"),
            ("maps.json", "02_maps"),
            ("stages/*.csv", "02_maps"),
            ("claims/*.json", "02_maps"),
            ("claims/*.json", "05_mask"),
            ("claims.md", "status"),
        },
        "read by": {
            ("records.parquet", "02_maps"),
            ("maps.json", "05_mask"),
            ("claims/*.json", "status"),
        },
    }
