# Every target makes its own environment in .venv. Needs: make, Python 3.11 or newer.
PYTHON ?= python3

py      := .venv/bin/python
pytest  := $(py) -m pytest -q --numprocesses auto --dist loadfile --no-loadscope-reorder
ready   := .venv/.ready
schemas := .venv/.schemas
DIST    ?= dist
wheels  := $(DIST)/wheelhouse
parts   := shared services/ultravisor services/hypervisor lab
# The explorer drives the services' own machines: an extra of the lab, so that the lab alone needs no service.
extras  := shared[otel] $(filter services/%,$(parts)) lab[explorer]
install := $(py) -m pip install -qq --disable-pip-version-check --no-compile -c constraints.txt

# Containers (docs/containers.md): the plugin where there is one, else docker-compose. PEF_SECRETS is where tokens lie.
compose = $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)
export PEF_SECRETS ?= ./secrets
PEF_REPORTS ?= reports
images := image-ultravisor image-hypervisor image-lab
tokens := ultravisor_token hypervisor_token observer_token vmm_token ultravisor_guest_key hypervisor_guest_key machine_key
tokens := $(tokens:%=$(PEF_SECRETS)/pef_%)
# Of what `make down` stops.
profiles := demo rows hostile console console-wire

# The long proofs: what `make verify` runs, each a target of its own. One that fails does not stop those after it.
# The first two keep all processors busy. Of the others two run at a time, and what each prints comes when it ends.
busy       := mutants long-tests
two_by_two := containers induction interleavings crash model-check test-console
proofs     := $(busy) $(two_by_two)

mutants := tests/conformance tests/unit/mutants tests/scenarios/test_mutants_served.py tests/scenarios/test_counterexamples.py

.DEFAULT_GOAL := help
.PHONY: help demo test verify lint rows bench docs docs-readme docs-console console pair pair-down clean style types contracts
.PHONY: $(proofs) knobs wheels images $(images)
.PHONY: secrets up healthy down compose-demo compose-rows compose-hostile compose-console compose-console-wire compose-test
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s  %s\n", $$1, $$2 }' Makefile

demo: $(ready) ## run the demonstration from start to end
	@.venv/bin/pef demo

test: $(ready) ## run the tests, without the long proofs and the benchmarks: about 5 minutes
	@echo "this takes about 5 minutes on two free cores"
	@$(pytest) -m 'not verify'

verify: $(ready) ## run the long proofs, and the containers where an engine runs: about 31 minutes
	@echo "this takes about 31 minutes on two free cores"
	@status=0; $(MAKE) -sk --no-print-directory $(busy) || status=$$?; \
	$(MAKE) -sk --no-print-directory --jobs=2 --output-sync=target $(two_by_two) || status=$$?; exit $$status

mutants: $(ready) ## put mutants into the services: rows, tests and counterexamples must tell them apart
	@$(pytest) -m verify $(mutants)
	@$(py) -m pytest -q -m verify tests/interleavings/test_mutants.py  # it makes small machines of a whole process

long-tests: $(schemas) ## run the tests that `make test` leaves out: whole searches, all designs, all rows, all attacks
	@$(pytest) -m verify $(mutants:%=--ignore %) --ignore tests/interleavings

lint: style types contracts ## check style, types and import contracts

rows: $(ready) ## play the protocol rows against services that are started for it
	@.venv/bin/pef rows

induction: $(schemas) ## prove the sound designs for one GFN and any number of calls, with z3; refute three others
	@PYTHONPATH=tests $(py) -m induction

crash: $(ready) ## let either side die at each yield of each operation, and judge what the other one keeps: 4 minutes
	@PYTHONPATH=tests $(py) -m crash

interleavings: $(ready) ## suspend each operation at each yield, and run every other one there: 3 minutes
	@PYTHONPATH=tests $(py) -m interleavings

knobs: $(ready) ## search each design with one knob changed, one call at a time, and write the table of them
	@mkdir -p $(PEF_REPORTS)
	@set -e; names=$$($(py) -m pef_explorer.knobs); export PEF_DESIGNS=$$names; \
	designs=$$(printf -- '--design %s ' tracked pushed-fixed pushed pushed-unasked $$(echo $$names | tr , ' ')); \
	explore() { .venv/bin/pef explore $$designs --calls 1 --json "$$@" || test $$? -eq 1; }; \
	explore $(PEF_REPORTS)/knobs.json --slots 1; \
	explore $(PEF_REPORTS)/knobsplug.json --slots 1,1; \
	explore $(PEF_REPORTS)/knobswire.json --slots 1 --faults 1 --wire unreliable; \
	$(py) docs/make_answer.py $$(for name in knobs knobsplug knobswire; do echo $$name=$(PEF_REPORTS)/$$name.json; done)

model-check: $(ready) ## compare SPIN's models of one GFN with what the explorer sees (spin, gcc): 3 minutes
	@$(py) -m pef_model

test-console: $(schemas) ## drive the page of `pef console` in Chromium (PEF_CHROMIUM, or on the PATH): 4 minutes
	@PYTHONPATH=tests $(py) -m console

docs-console: $(schemas) ## write the small pictures of docs/console.md
	@PEF_PICTURES=docs/console PYTHONPATH=tests $(py) -m console tests/console/test_8_scenes.py tests/console/test_5_live.py

bench: $(ready) ## measure the promises of docs/performance.md
	@$(py) -m pytest -q tests/bench

docs: $(ready) ## write docs/reference from the tables, and the pages of the counterexamples and lessons
	@$(py) docs/make_reference.py
	@$(py) docs/make_counterexamples.py
	@$(py) docs/make_lessons.py

docs-readme: $(ready) ## write what README.md quotes of the tour
	@$(py) docs/make_readme.py

console: $(ready) ## serve the console on loopback, until Ctrl-C: a page on which you step through both sides
	@.venv/bin/pef console

pair: $(ready) ## start both services as processes, until Ctrl-C
	@.venv/bin/pef up

pair-down: $(ready) ## stop these processes from elsewhere
	@.venv/bin/pef down

secrets: $(tokens) ## make the tokens of the containers; what is there stays

up: $(tokens) ## start both services in containers
	@$(compose) build --quiet
	@$(MAKE) -s healthy
	@uv=http://$$($(compose) port ultravisor 8001) hv=http://$$($(compose) port hypervisor 8002); \
	printf '%s\n' "Ultravisor   $$uv" "Hypervisor   $$hv" "" \
	  "Tokens are kept in $(PEF_SECRETS). Try:" "" \
	  "  curl $$uv/v1/machine-key" \
	  "  curl -H \"Authorization: Bearer \$$(cat $(PEF_SECRETS)/pef_observer_token)\" $$hv/v1/observer/vms" \
	  "  $(compose) run --rm demo" "" "'make down' stops them."

down: ## stop the containers; remove them, their networks and volumes
	@$(compose) $(profiles:%=--profile %) down --volumes --remove-orphans

compose-demo: ## run the demonstration in containers
compose-rows: ## play the protocol rows in containers; writes reports/
compose-hostile: ## put a lying Hypervisor between both containers; writes reports/
compose-hostile: export PEF_ULTRAVISORS_PEER := http://hostile.visors:9002
compose-hostile: export PEF_HYPERVISORS_PEER := http://hostile.visors:9001
compose-hostile: export PEF_PEER_TIMEOUT := 1
compose-hostile: export PEF_GIVE_UP := 5
compose-hostile: export PEF_HEALTH := /livez

compose-console: $(tokens) ## serve the console in a container beside both, until Ctrl-C; the pair stays up
	@$(compose) --profile console build --quiet && $(MAKE) -s healthy
	@$(compose) --profile console run --rm --no-deps --service-ports console

# A message may be held for a day. The sides say hello once a live session is between them.
compose-console-wire: export PEF_ULTRAVISORS_PEER := http://console.visors:9002
compose-console-wire: export PEF_HYPERVISORS_PEER := http://console.visors:9001
compose-console-wire: export PEF_PEER_TIMEOUT := 86400
compose-console-wire: export PEF_GIVE_UP := 86400
compose-console-wire: export PEF_HEALTH := /livez
compose-console-wire: $(tokens) ## put the console on the wire between both containers, until Ctrl-C; then stop the pair
	@export COMPOSE_PROJECT_NAME=$${COMPOSE_PROJECT_NAME:-pef}-console-wire PEF_ULTRAVISOR_PORT= PEF_HYPERVISOR_PORT=; \
	trap '$(MAKE) -s down' EXIT; trap 'exit 130' INT TERM; \
	$(compose) --profile console-wire build --quiet && $(MAKE) -s healthy && \
	$(compose) --profile console-wire run --rm --no-deps --service-ports --use-aliases console-wire

# Ours are built once and copied: a wheelhouse has all that an installation needs, so that it asks no index.
wheels: $(ready) ## build the wheels of all distributions into dist/, and all that they need into dist/wheelhouse/
	@rm -rf $(DIST) && mkdir -p $(wheels)
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(py) -m pip wheel -qq --disable-pip-version-check \
	  --wheel-dir $(wheels) $(extras:%=./%)
	@cp $(wheels)/pef_*.whl $(DIST)/
	@ls $(DIST)/*.whl

# Tags: the version, and the commit from which the image was built. A label says both.
version = $(shell sed -n 's/^VERSION: Final = "\(.*\)"/\1/p' shared/src/pef_protocol/version.py)
commit  = $(shell git describe --always --dirty --abbrev=12 --exclude '*' 2>/dev/null || echo unknown)

images: $(images) ## build the images of both services and of the lab, tagged with version and commit

$(images): image-%:
	@docker build --quiet --network host --file $(filter %/$*,$(parts:lab=./lab))/Dockerfile \
	  $(foreach each,HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy \
	  PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST,--build-arg $(each)) \
	  --label org.opencontainers.image.title=pef-$* \
	  --label org.opencontainers.image.version=$(version) \
	  --label org.opencontainers.image.revision=$(commit) \
	  --tag pef-$*:$(version) --tag pef-$*:$(commit) . >/dev/null
	@echo "pef-$*:$(version) pef-$*:$(commit)"

compose-test: $(ready) ## test the containers, on a machine with an engine
	@$(py) -m pytest -q tests/compose

# The tests run make themselves: they are no part of the run that started them.
containers: $(ready) ## the same, where an engine runs; elsewhere say that there is none
	@if docker info >/dev/null 2>&1; then env -u MAKEFLAGS -u MFLAGS $(py) -m pytest -q tests/compose; \
	else echo "containers: not tested, no engine runs here"; fi

clean: ## remove .venv, dist and every cache
	@rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache .schemathesis
	@find $(parts) tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

style: $(ready)
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check

types: $(ready)
	@.venv/bin/mypy

contracts: $(ready)
	@.venv/bin/lint-imports --no-logo

# Every container's user may read them; of the host's, only who may enter the directory.
$(PEF_SECRETS)/pef_%:
	@mkdir -p $(@D) && chmod 700 $(@D)
	@od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >$@ && chmod 444 $@

healthy:
	@$(compose) up --detach ultravisor hypervisor
	@for second in $$(seq 90); do \
	  states=$$(docker inspect --format '{{.State.Health.Status}}' $$($(compose) ps --all --quiet ultravisor hypervisor) | sort -u); \
	  [ "$$states" != healthy ] || exit 0; sleep 1; \
	done; $(compose) logs --tail 20 >&2; echo "the pair does not become healthy" >&2; exit 1

# On a pair of its own, beside one that is up; its exit code is ours, and nothing stays.
compose-demo compose-rows compose-hostile: compose-%: $(tokens)
	@export COMPOSE_PROJECT_NAME=$${COMPOSE_PROJECT_NAME:-pef}-$* PEF_ULTRAVISOR_PORT= PEF_HYPERVISOR_PORT=; \
	trap '$(MAKE) -s down' EXIT; trap 'exit 130' INT TERM; \
	$(compose) --profile $* build --quiet && $(MAKE) -s healthy || exit; \
	tty=$$([ -t 0 ] && [ -t 1 ] || echo -T); \
	$(compose) --profile $* run --rm --no-deps --use-aliases $$tty $*; status=$$?; \
	[ $* = demo ] || { mkdir -p $(PEF_REPORTS); $(compose) --profile $* run --rm --no-deps -T --entrypoint tar $* \
	  -cC /reports . | tar -xC $(PEF_REPORTS) --no-same-owner; }; exit $$status

# Begins from nothing each time, so that what was dropped from the lists is gone from .venv too.
$(ready): constraints.txt requirements-dev.txt $(parts:=/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "This needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=python3.11" >&2; exit 1; }
	@echo "making .venv: about half a minute"
	@$(PYTHON) -m venv --clear .venv
	@echo "  installing what constraints.txt pins"
	@$(install) hatchling editables
	@$(install) --no-build-isolation -r requirements-dev.txt $(extras:%=-e '%')
	@touch $@
	@echo "  .venv is ready"

# What only the long proofs need.
$(schemas): $(ready) requirements-verify.txt
	@$(install) -r requirements-verify.txt
	@touch $@
