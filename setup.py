import subprocess
import sys
from pathlib import PurePath

from setuptools import Command, setup
from setuptools.command.build import build

# Written by build_share.py.
SHARE = (
    "share/man/man8/pfkeyx.8",
    "share/man/man5/pfkeyx-file.5",
    "share/bash-completion/completions/pfkeyx",
    "share/zsh/site-functions/_pfkeyx",
    "share/fish/vendor_completions.d/pfkeyx.fish",
)


class BuildShare(Command):
    description = "make the manual pages and the completions, of the package that was just built"
    user_options = ()
    build_lib = None
    editable_mode = False

    def initialize_options(self):
        pass

    def finalize_options(self):
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self):
        lib = "." if self.editable_mode else self.build_lib
        subprocess.run([sys.executable, "build_share.py", lib], check=True)

    def get_source_files(self):
        return ["build_share.py"]

    def get_outputs(self):
        return []

    def get_output_mapping(self):
        return {}


build.sub_commands.append(("build_share", None))

setup(
    cffi_modules=["build_ffi.py:ffibuilder"],
    cmdclass={"build_share": BuildShare},
    data_files=[(str(PurePath(path).parent), [f"build/{path}"]) for path in SHARE],
)
