"""Loading the extension is quick, imports nothing heavy, and leaves a kernel usable while fastai is on its way."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAVY = ("torch", "fastai", "aiohttp", "ddgs", "pandas", "matplotlib", "ipywidgets", "timm", "numpy", "PIL")


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_imports_nothing_heavy():
    loaded = fresh_python(f"""
        import sys
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        before = set(sys.modules)
        shell.run_line_magic('load_ext', 'fastmagic')
        print([name for name in {HEAVY} if name in set(sys.modules) - before])
    """)
    assert loaded == "[]"


def test_help_and_importing_the_package_import_nothing_heavy():
    loaded = fresh_python(f"""
        import sys, io, contextlib
        import fastmagic
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_line_magic('load_ext', 'fastmagic')
        with contextlib.redirect_stdout(io.StringIO()):
            for name in ('images', 'datablock', 'train', 'predict', 'results', 'check', 'models'):
                shell.run_line_magic(name, '--help')
        print([name for name in {HEAVY} if name in sys.modules])
    """)
    assert loaded == "[]"


def test_a_plain_shell_does_not_import_fastai_in_the_background():
    assert (
        fresh_python("""
        import threading
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_line_magic('load_ext', 'fastmagic')
        print([t.name for t in threading.enumerate() if 'fastmagic' in t.name])
    """)
        == "[]"
    )


@pytest.fixture(scope="module")
def kernel():
    """Starts real kernels; gives a function that runs cells in a new one and returns what they print."""
    from jupyter_client.manager import start_new_kernel

    def run(*cells: str) -> list[str]:
        manager, client = start_new_kernel(kernel_name="python3", extra_arguments=[])
        printed = []
        try:
            for cell in cells:
                out: list[str] = []

                def collect(message, out=out):
                    if message["msg_type"] == "stream":
                        out.append(message["content"]["text"])

                reply = client.execute_interactive(cell, timeout=300, output_hook=collect)
                assert reply["content"]["status"] == "ok", reply["content"].get("evalue")
                printed.append("".join(out))
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
        return printed

    return run


def test_a_kernel_imports_fastai_in_the_background_and_a_cell_that_needs_it_waits_for_the_same_import(kernel):
    out = kernel(
        "%load_ext fastmagic\nimport sys, threading\nthread = next(t for t in threading.enumerate() if 'fastmagic' in t.name)",
        "print([t.name for t in threading.enumerate() if 'fastmagic' in t.name], 'fastai.vision.all' in dir())",
        "alive = thread.is_alive()\n%models resnet18d",
        "print(alive, thread.is_alive())",
        "from fastai.vision.all import ImageBlock, CategoryBlock\nprint(ImageBlock.__name__)",
        "print(sys.modules['fastai.vision.all'].ImageBlock is ImageBlock)",
    )
    assert "fastmagic-preload" in out[1]
    assert out[3].strip() == "True False"
    assert out[4].strip() == "ImageBlock"
    assert out[5].strip() == "True"


def test_a_function_that_needs_fastai_waits_for_the_same_import(kernel):
    out = kernel(
        "%load_ext fastmagic\nimport fastmagic, threading\n"
        "thread = next(t for t in threading.enumerate() if 'fastmagic' in t.name)\n"
        "fastmagic.images\nearly = thread.is_alive()\nfastmagic.clean\nprint(early, thread.is_alive())",
    )
    assert out[0].strip() == "True False"


def test_a_setting_turns_the_background_import_off(kernel):
    out = kernel(
        "get_ipython().config.FastMagic.preload = False",
        "%load_ext fastmagic",
        "import threading, sys\nprint([t.name for t in threading.enumerate() if 'fastmagic' in t.name], 'torch' in sys.modules)",
    )
    assert out[2].strip() == "[] False"
