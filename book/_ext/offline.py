"""A Sphinx extension: takes Thebe's scripts out of the pages.

sphinx-thebe, which Jupyter Book always loads, declares its constants twice (an error in
the browser's console) and would fetch its code from a CDN; the book doesn't use it.
Progress bars are left out of the pages, too.
"""
import os

os.environ.setdefault("TQDM_DISABLE", "1")  # the notebooks' kernels inherit it


def without_thebe(app, pagename, templatename, context, doctree):
    scripts = context.get("script_files", [])
    scripts[:] = [s for s in scripts
                  if "thebe" not in f"{s} {getattr(s, 'attributes', '')}".lower()]


def setup(app):
    app.connect("html-page-context", without_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
