"""A Sphinx extension: what the book's pages need that their HTML doesn't say yet.

- Widgets carry cave.js and widget.css along, for notebooks that are opened elsewhere. A
  page of the book loads both once, so here the copies are taken out.
- The code of a figure is folded behind a thin link below it, and an import behind one;
  an exercise's answer is called an answer, for screen readers too.
- A table stands in a box that scrolls, so that it stays a table for screen readers;
  cave.js lets the keyboard reach the box where it is too narrow.
"""
from bs4 import BeautifulSoup


def finish(app, pagename, templatename, context, doctree):
    if "body" not in context or doctree is None:
        return
    page = BeautifulSoup(context["body"], "html.parser")
    for copy in page.select(".cave-needs"):
        copy.decompose()
    for fold in page.select("div.cell > details.hide, div.cell > div > details.hide"):
        cell = fold.find_parent("div", class_="cell")
        summary = fold.summary
        del summary["aria-label"]  # "Toggle hidden content" hides the words from some
        if "tag_hide-cell" in cell["class"]:
            name = "answer"
            fold["class"] = [*fold["class"], "cave-answer"]
        else:
            lines = [x for x in fold.select_one("pre").get_text().splitlines() if x.strip()]
            plain = all(x.startswith(("import ", "from ", "sys.path", "#", " ", ")")) for x in lines)
            name = "imports" if plain else "code"
            fold["class"] = [*fold["class"], "cave-code"]
            cell.append(fold.extract())  # below what it draws, for readers and for keys
        for word, title in zip(("Show", "Hide"), summary.select("p"), strict=True):
            title.string = f"{word} the {name}"
    for table in page.select("table"):
        if not table.find_parent(class_=["cave-box", "pst-scrollable-table-container", "highlight"]):
            table.wrap(page.new_tag("div", attrs={"class": "cave-wide"}))
    context["body"] = str(page)


def setup(app):
    app.connect("html-page-context", finish, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
