"""Real work in a run: applied, it is what the same command does directly."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import layerctl
from tests.support.running import digest, sh

#: What each needs in its directory, and the command; files that hold times of day are removed.
WORK = {
    "a package is installed": (
        """
        mkdir -p deb/DEBIAN deb/usr/bin deb/etc root/var/lib/dpkg/info root/var/lib/dpkg/updates
        printf 'Package: hello\\nVersion: 1\\nArchitecture: all\\nMaintainer: A <a@b>\\n%s\\n' \
            'Description: none' >deb/DEBIAN/control
        printf '#!/bin/sh\\nln -sf hello "$DPKG_ROOT/usr/bin/hi"\\n' >deb/DEBIAN/postinst
        chmod 755 deb/DEBIAN/postinst; echo /etc/hello >deb/DEBIAN/conffiles
        echo '#!/bin/sh' >deb/usr/bin/hello; chmod 4755 deb/usr/bin/hello; echo 1 >deb/etc/hello
        : >root/var/lib/dpkg/status; : >root/var/lib/dpkg/available
        """,
        """
        dpkg-deb --build --root-owner-group deb hello.deb
        dpkg --root=$PWD/root --log=/dev/null --force-not-root,script-chrootless -i hello.deb
        echo 2 >>root/etc/hello
        dpkg --root=$PWD/root --log=/dev/null --force-script-chrootless -r hello
        dpkg --root=$PWD/root --log=/dev/null --force-script-chrootless -i hello.deb; rm hello.deb
        """,
    ),
    "make install": (
        """
        printf 'all: tool\\ntool: tool.c\\n\\tcp $< $@\\ninstall: all\\n\\tinstall -D %s\\n%s\\n' \
            '-m 4711 tool $(DESTDIR)/bin/tool' '	ln -sf tool $(DESTDIR)/bin/link' >Makefile
        echo 'int main;' >tool.c; mkdir -p to/bin; echo old >to/bin/tool; ln to/bin/tool to/bin/old
        """,
        "make install DESTDIR=to; make -B; mv to there; mkdir to; make install DESTDIR=$PWD/to",
    ),
    "pip install": (
        """
        mkdir -p pkg pkg-1.dist-info site; echo x=1 >pkg/__init__.py
        printf 'Metadata-Version: 2.1\\nName: pkg\\nVersion: 1\\n' >pkg-1.dist-info/METADATA
        printf 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n' \
            >pkg-1.dist-info/WHEEL
        printf 'pkg/__init__.py,,\\npkg-1.dist-info/METADATA,,\\npkg-1.dist-info/WHEEL,,\\n%s\\n' \
            'pkg-1.dist-info/RECORD,,' >pkg-1.dist-info/RECORD
        python3 -m zipfile -c pkg-1-py3-none-any.whl pkg pkg-1.dist-info
        """,
        "python3 -m pip install -q --no-index --no-compile --no-cache-dir "
        "--root-user-action ignore --target site ./pkg-1-py3-none-any.whl; rm -r pkg; "
        "rm -f site/*/direct_url.json",
    ),
    "git clone and checkout": (
        """
        git init -q origin; cd origin; git config user.email a@b; git config user.name a
        export GIT_AUTHOR_DATE=2001-01-01T00:00:00Z GIT_COMMITTER_DATE=2001-01-01T00:00:00Z
        mkdir -p a/b; echo 1 >a/b/c; ln -s a l; git add .; git commit -qm one; git branch old
        git mv a z; echo 2 >>z/b/c; git add .; git commit -qm two
        """,
        "git clone -q origin clone; cd clone; git checkout -q old; git branch new; "
        "git gc -q --prune=now; rm -f .git/index .git/FETCH_HEAD; rm -rf .git/logs",
    ),
    "a tree is built, edited and cleared": (
        "mkdir -p src/{a,b,c}; for n in 1 2 3 4 5; do echo text >src/a/$n; done",
        "cp -a src copy; sed -i s/text/other/ src/a/*; mv src/a src/d; "
        "tar cf t.tar --sort=name --mtime=@77 src; rm -rf src; tar xf t.tar; "
        "find copy -name 3 -delete; touch -d @77 t.tar src src/d",
    ),
}
if shutil.which("npm"):
    WORK["npm install"] = (
        'mkdir -p pkg app; cd pkg; echo \'{"name":"pkg","version":"1.0.0","bin":"x.js"}\' '
        ">package.json; cd ..; "
        'echo "#!/usr/bin/env node" >pkg/x.js; echo \'{"name":"app","version":"1.0.0"}\' '
        ">app/package.json; tar czf pkg.tgz --transform s,pkg,package, pkg",
        "cd app; HOME=$PWD npm install --offline --no-audit --no-fund --cache ../cache ../pkg.tgz; "
        "rm -r ../cache",
    )


@pytest.mark.namespace
@pytest.mark.parametrize("what", WORK)
def test_real_work_is_dropped_or_applied_whole(lab: Path, what: str) -> None:
    prepare, work = WORK[what]
    (lab / "a").mkdir()
    sh(prepare, lab / "a")
    before = digest(lab / "a")
    done = layerctl("run", "--keep", "k", "-C", "a", "bash", "-ec", work)
    assert done.returncode == 0, done.stderr
    assert digest(lab / "a") == before
    sh("cp -a a direct; mv a applied; mv direct a", lab)
    sh(work, lab / "a")
    wanted = digest(lab / "a")
    sh("mv a direct; mv applied a", lab)
    assert layerctl("apply", "k", "a").returncode == 0  # hooks of dpkg write elsewhere, too
    assert digest(lab / "a") == wanted
    assert wanted != before
