"""Sphinx extension: leave out what the theme adds for services that this book does not use."""


def set_theme_options(app, config):
    """Set what html_theme_options in _config.yml would, but that replaces all that Jupyter Book puts there."""
    config.html_theme_options["use_download_button"] = False  # points at _sources/, which is not published
    config.html_theme_options["navbar_persistent"] = []  # a second search field, in a header of its own


def no_thebe(app, pagename, templatename, context, doctree):
    """Drop sphinx-thebe's scripts: they name a CDN on every page, and declare one constant twice (a console error)."""
    context["script_files"] = [script for script in context["script_files"] if not _is_thebe(script)]


def _is_thebe(script):
    inline = getattr(script, "attributes", {}).get("body") or ""
    return "THEBE_JS_URL" in inline or "sphinx-thebe" in str(getattr(script, "filename", script))


def setup(app):
    """Connect to Sphinx."""
    app.connect("config-inited", set_theme_options)
    app.connect("html-page-context", no_thebe, priority=900)  # after sphinx-thebe has added them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
