"""Write a finished run as one zip: the same run gives the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from defocus_lib.run import provenance
from defocus_lib.run.artifacts import PROVENANCE, Folder, write_beside
from defocus_lib.run.bundle.description import (
    CHECKSUMS,
    CRATE,
    DESCRIPTION,
    FORMAT,
    INJECTED,
    NOTE_PICTURES,
    OVERVIEW,
    SHAPLEY,
    SHOWS_IMAGES,
    SUMMARY,
    Description,
    kind_of,
)

PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-image", "scikit-learn", "statsmodels", "pillow"),
    *("torch", "torchvision", "timm", "pytorch-lightning", "shap", "quantus", "matplotlib"),
    *("papermill", "jupytext", "jupyter-book", "myst-nb", "doit"),
)


def describe(folder: Folder, root: Path, images_per_set: int | None, pictures: bool) -> Description:
    """The description of the run in ``folder``, made by the checkout ``root``.

    Raises FileNotFoundError if the run has no summary yet.
    """
    summary = folder.require(SUMMARY, made_by="01_data").read_text(encoding="utf-8")
    runs = provenance.read_runs(folder.path)
    sample = "" if images_per_set is None else f"-{images_per_set}"
    return Description(
        format=FORMAT,
        name=f"{folder.profile}{sample}{'' if pictures else '-no-images'}",
        profile=folder.profile,
        dataset=folder.about.dataset,
        summary=summary.strip(),
        library=provenance.package_versions(["defocus-lib"])["defocus-lib"],
        commit=provenance.commit(root),
        date=provenance.commit_date(root),
        images_per_set=images_per_set,
        pictures=pictures,
        parameters={run.notebook: _without_paths(run.parameters) for run in runs},
        versions=provenance.package_versions(list(PACKAGES)),
    )


def _without_paths(parameters: Mapping) -> dict:
    """``artifacts`` is a folder of one machine."""
    return {key: "" if key == "artifacts" else value for key, value in parameters.items()}


def contents(
    folder: Folder, description: Description, pages: list[str], shapley: Path | None
) -> Iterator[tuple[str, Path | bytes]]:
    """Path in the zip and content of every file of the run, in no order.

    Shards come from ``shapley`` (None for none), see
    :func:`defocus_lib.explain.sample.write_sample`. Raises FileNotFoundError if a page of the book
    has not been executed.
    """
    for page in pages:
        path = folder.require(f"notebooks/{page}.ipynb", made_by=page)
        yield f"notebooks/{page}.ipynb", _page(path, description.pictures)
    for path in sorted(folder.path.rglob("*")):
        name = path.relative_to(folder.path).as_posix()
        is_kept = kind_of(name)[0] and not name.startswith(("notebooks/", f"{SHAPLEY}/"))
        if not is_kept or not path.is_file() or (name == OVERVIEW and not description.pictures):
            continue
        yield name, _cleared(path) if name == PROVENANCE or name.startswith("runs/") else path
    if shapley is None:
        return
    for path in sorted(shapley.rglob("*")):
        name = f"{SHAPLEY}/{path.relative_to(shapley).as_posix()}"
        if path.is_file() and kind_of(name)[0]:
            yield name, path


def _cleared(path: Path) -> bytes:
    """A record without the folders of this machine."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if "data" in content:
        content["data"]["root"] = ""
    if "parameters" in content:
        content["parameters"] = _without_paths(content["parameters"])
    return _json(content)


def _page(path: Path, pictures: bool) -> bytes:
    notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    for cell in notebook.cells:
        if INJECTED in cell.metadata.get("tags", []):  # a folder of this machine
            cell.source = re.sub(r"(?m)^artifacts = .*$", 'artifacts = ""', cell.source)
        if not pictures:
            leave_out_pictures(cell)
    return (nbformat.writes(notebook) + "\n").encode()


def leave_out_pictures(cell: NotebookNode) -> None:
    """Put a note in the place of each picture of a cell that may show one."""
    tags = set(cell.metadata.get("tags", []))
    if cell.cell_type != "code" or not tags & {SHOWS_IMAGES, "remove-output", "remove-cell"}:
        return
    for output in cell.outputs:
        if any("image/" in mime for mime in output.get("data", {})):
            output["data"] = NotebookNode({"text/plain": NOTE_PICTURES})


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


# --------------------------------------------------------------------------------------------------
# The zip


def write_bundle(
    path: Path, description: Description, files: Mapping[str, Path | bytes], licence: str
) -> Path:
    """Write the zip: same files, same bytes. No file is held in memory but one."""

    def write(beside: Path) -> None:
        with zipfile.ZipFile(beside, "w") as archive:
            listed = {name: _add(archive, name, files[name]) for name in sorted(files)}
            listed[DESCRIPTION] = _add(archive, DESCRIPTION, _json(description.model_dump()))
            listed[CRATE] = _add(archive, CRATE, _json(crate(description, listed, licence)))
            lines = "".join(f"{sha}  {name}\n" for name, (sha, _) in sorted(listed.items()))
            _add(archive, CHECKSUMS, lines.encode())

    return write_beside(path, write)


def _add(archive: zipfile.ZipFile, name: str, content: Path | bytes) -> tuple[str, int]:
    """Add a file under a fixed date and mode; its SHA-256 and size."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3  # else it names the system of this machine
    packed = name.endswith((".npz", ".parquet", ".png", ".safetensors"))
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)
    return hashlib.sha256(data).hexdigest(), len(data)


def crate(description: Description, listed: Mapping[str, tuple[str, int]], licence: str) -> dict:
    """The RO-Crate 1.1 of the files: JSON-LD with one entity per file."""
    commit = description.commit.removesuffix("-dirty")
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run {description.name}",
        "description": " ".join([description.summary.replace("*", ""), *description.left_out]),
        "datePublished": description.date,
        "license": {"@id": "#licence"},
        "hasPart": [{"@id": name} for name in listed],
        "mentions": {"@id": "#run"},
    }
    run = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": f"Execution of the notebooks with the profile {description.profile}",
        "instrument": {"@id": "#library"},
        "result": {"@id": "./"},
    }
    library = {
        "@id": "#library",
        "@type": "SoftwareApplication",
        "name": "defocus-lib",
        "version": f"{description.library} ({commit})",
        "softwareRequirements": [f"{name} {at}" for name, at in description.versions.items()],
    }
    head = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
        "about": {"@id": "./"},
    }
    terms = {
        "@id": "#licence",
        "@type": "CreativeWork",
        "name": "Terms of use of the data",
        "description": licence,
    }
    files = [_entity(name, *facts) for name, facts in listed.items()]
    context = ["https://w3id.org/ro/crate/1.1/context", {"sha256": "https://schema.org/sha256"}]
    return {"@context": context, "@graph": [head, root, run, library, terms, *files]}


def _entity(name: str, sha: str, size: int) -> dict:
    text, media = kind_of(name)
    if name == DESCRIPTION:
        text, media = "What made the bundle: parameters, versions, commit.", "application/json"
    sizes = {"contentSize": str(size), "sha256": sha, "encodingFormat": media}
    return {"@id": name, "@type": "File", "name": Path(name).name, "description": text, **sizes}
