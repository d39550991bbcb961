"""The five compiled modules and their flags; everything else about the package is in pyproject.toml.

MYCELIUM_DEBUG=1 builds without optimisation and with C assertions; MYCELIUM_ANNOTATE=1 writes Cython's HTML.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = bool(os.environ.get("MYCELIUM_DEBUG"))
FLAGS = ["-O0", "-g", "-UNDEBUG"] if DEBUG else ["-O3", "-g0"]
FLAGS += ["-fno-strict-aliasing", "-Wall", "-Wno-unused-function", "-Werror=implicit-function-declaration"]
MODULES = ("codec", "replay", "merge", "fanout", "allow")


class Build(build_ext):
    """Translate and compile on all cores. Only a build does: a source distribution holds no generated C."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self) -> None:
        # Not with `finalize_options`: a source distribution comes by there, too.
        translated = cythonize(
            self.extensions,
            build_dir="build/cython",
            annotate=bool(os.environ.get("MYCELIUM_ANNOTATE")),
            compiler_directives={"language_level": 3, "boundscheck": True, "cdivision": False},
            nthreads=0,
        )
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().run()


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(f"mycelium._core.{name}", [f"mycelium/_core/{name}.pyx"], extra_compile_args=FLAGS)
        for name in MODULES
    ],
)
