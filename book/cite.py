"""How to cite: CITATION.cff as BibTeX."""

from pathlib import Path

import yaml
from pages import ROOT

# BibTeX would set these in lower case.
KEEP = ("CCFS", "IPC", "Curriculum Coarse-to-Fine Selection")


def box(root: Path = ROOT) -> str:
    """Write a MyST box with the entries of this book and of the paper it reproduces."""
    cff = yaml.safe_load((root / "CITATION.cff").read_text("utf-8"))
    entries = "\n\n".join([software(cff), *map(article, cff["references"])])
    head = f":::{{admonition}} Version {cff['version']}\n:class: tip\n"
    return f"{head}\n{cff['message']}\n\n```bibtex\n{entries}\n```\n:::\n"


def software(cff: dict) -> str:
    """Write the entry of a citation file's own work."""
    values = {"title": title(cff), "author": authors(cff), "version": cff["version"]}
    if address := cff.get("repository-code"):
        values["url"] = address
    if date := cff.get("date-released"):
        values["year"] = str(date)[:4]
    return entry("software", "ccfs_lib", values)


def article(reference: dict) -> str:
    """Write the entry of a paper that a citation file refers to."""
    first, year = reference["authors"][0]["family-names"], reference["year"]
    values = {"title": title(reference), "author": authors(reference)}
    values |= {"booktitle": reference["collection-title"], "year": year}
    return entry("inproceedings", f"{first.lower()}{year}ccfs", values)


def title(work: dict) -> str:
    """Protect the capitals of a title's names."""
    text = work["title"]
    for name in KEEP:
        text = text.replace(name, f"{{{name}}}")
    return text


def authors(work: dict) -> str:
    """Format names as BibTeX wants them; a group's name is not taken apart."""
    return " and ".join(
        f"{{{who['name']}}}"
        if "name" in who
        else f"{who['family-names']}, {who['given-names']}"
        for who in work["authors"]
    )


def entry(kind: str, key: str, values: dict) -> str:
    """Write one BibTeX entry."""
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in values.items())
    return f"@{kind}{{{key},\n{lines}}}"
