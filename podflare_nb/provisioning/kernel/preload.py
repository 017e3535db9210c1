"""Builds what a template holds: the kernel application, the libraries that its kernelspec lists, all of it warm.

A first call of anything imports, compiles and caches; done here, once, its pages are shared by every child. What the
warm-up leaves behind is removed: names, history, counters, last exceptions, and every file, by giving libraries a
home directory that exists only meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..library_caches import LibraryCache, move_jedi
from .ipykernel_seam import TemplateApp
from .rehearsal import rehearse

FOR_EVERY_KERNEL = (
    "ipykernel.debugger",
    "debugpy.server",
    "psutil",
    "jedi",
    "IPython.core.completer",
    "IPython.core.magics",
    "IPython.core.pylabtools",
    "IPython.external.pickleshare",
    "multiprocessing.pool",
    "concurrent.futures.thread",
    "sqlite3",
    "pdb",
)
"""Imported where it is installed: a child that needed one of these would import it anew each time."""

WARM_CELLS = (
    "print(6*7)",
    "_warm = {'a': [1, 2.5, None]}; _warm",
    "import asyncio\nawait asyncio.sleep(0)",
    "from IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))",
    "1/0",
    "def f(:",
    "raise SystemExit(0)",
    "%%bash\ntrue",
    "!true",
    "get_ipython().find_line_magic('timeit')",
)
WARM_LIBRARIES = {
    "pandas": (
        "import pandas as _pd; _warm = _pd.DataFrame({'a': [1, 2, 3], 'b': list('xyx'), 'c': [.5, 1.5, None]}); _warm",
        "_warm.groupby('b').agg({'a': 'sum', 'c': 'mean'})\n_warm.describe()",
        "import io as _io\n_pd.read_csv(_io.StringIO(_warm.to_csv(index=False)))",
    ),
    "numpy": ("import numpy as _np\n_np.arange(6).reshape(2, 3)", "_np.arange(4.) @ _np.arange(4.)"),
    "matplotlib.pyplot": (
        "import matplotlib.pyplot as _p; _p.figure(figsize=(2, 1)); _p.plot([1, 2]); _p.title('x'); _p.show()",
    ),
}


WITHOUT_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Says to a library (pyarrow's allocator) not to start a thread: no child would have it, and memory in which another
thread may write at any time cannot be moved (``file_backed``)."""


class PreloadError(Exception):
    """A template cannot be built; the sentence names what is at fault."""


def build(preload: Sequence[str], env: Mapping[str, str], cache: LibraryCache) -> TemplateApp:
    """Build the application and load the modules. Afterwards ``os.environ`` is the template's. Raises PreloadError."""
    os.environ.clear()
    os.environ.update(WITHOUT_THREADS)
    os.environ.update(env)
    with _home_for_now() as home:
        cache.lay_out(Path(home))
        app = TemplateApp.instance(profile=f"{home}/profile")
        app.initialize([])  # type: ignore[no-untyped-call]  # ipykernel is typed in part
        for name in FOR_EVERY_KERNEL:
            with contextlib.suppress(ImportError):  # not part of every environment
                importlib.import_module(name)
        move_jedi(home)  # some versions of IPython have imported it before
        for name in preload:
            _import(name)
        if "matplotlib" in sys.modules:
            _import("matplotlib_inline.backend_inline")
        _warm(app, home)
        _forget(app)
        cache.keep(Path(home))
    for name in WITHOUT_THREADS.keys() - env.keys():
        del os.environ[name]
    return app


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        raise PreloadError(f"The template could not import {name}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _home_for_now() -> Iterator[str]:
    """A home directory for libraries that write caches while they load."""
    home = tempfile.mkdtemp(prefix="podflare-template-")
    ours = {
        "HOME": home,
        "XDG_CACHE_HOME": home,
        "XDG_CONFIG_HOME": home,
        "IPYTHONDIR": home,
        "JUPYTER_RUNTIME_DIR": home,
    }
    ours["MPLCONFIGDIR"] = os.environ.get("MPLCONFIGDIR", home)  # an operator's font cache saves a second
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield home
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = None
        shutil.rmtree(home, ignore_errors=True)


def _warm(app: TemplateApp, home: str) -> None:
    loaded = [cells for name, cells in WARM_LIBRARIES.items() if name in sys.modules]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rehearse(app, (*WARM_CELLS, *(cell for cells in loaded for cell in cells)), home)


def _forget(app: TemplateApp) -> None:
    """Remove the warm-up's traces."""
    shell = app.kernel.shell
    shell._last_traceback = None  # noqa: SLF001
    shell.payload_manager.clear_payload()
    history = shell.history_manager
    history.reset(new_session=False)
    history.input_hist_parsed[:] = history.input_hist_raw[:] = [""]
    history.db_input_cache = []
    history.db.execute("DELETE FROM history")
    history.outputs.clear()
    history.exceptions.clear()
    shell.reset(new_session=False)
    shell.execution_count = 1
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        if hasattr(sys, name):
            delattr(sys, name)
    plt: Any = sys.modules.get("matplotlib.pyplot")
    if plt is not None:
        plt.close("all")
