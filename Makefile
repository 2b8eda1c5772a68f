# RadSynth: `make` runs the whole chain on a small phantom cohort, `make test` the tests.
# Your own data: make groundtruth train synthesize evaluate COHORT=path/cohort.csv RUN=runs/name

PYTHON ?= python3
# `tensorflow` on a machine with a GPU; never both
TENSORFLOW ?= tensorflow-cpu
RUN ?= runs/demo
SIZE ?= 160
SLICES ?= 2
# Without a cohort of yours: the phantom, with fewer samples and epochs than the commands' defaults
ifndef COHORT
COHORT := $(RUN)/phantom/cohort.csv
GROUNDTRUTH_OPTIONS ?= --samples-per-case 3000
TRAIN_OPTIONS ?= --epochs 15
BENCHMARK_OPTIONS ?= --repeats 3
endif

VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := demo
.DELETE_ON_ERROR:
.PHONY: demo groundtruth train synthesize evaluate benchmark real test test-sim test-slow test-ptx coverage test-release test-oracles test-monai test-notebooks \
    test-oldest test-core test-clean constraints test-gpu gpu-tests gpu-benchmark fuzz crash lint format help clean

help: ## say what the targets do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# Extras without which hardly a test file runs
TESTED := dicom,filters,report

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(TENSORFLOW),report]'
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(TENSORFLOW),cuda,$(TESTED),onnx,idc,test,lint]'
	touch $@

# Synthetic maps that failed their check, by the files beside them
FAILED_CHECKS = grep -ls '"failed": true' $(RUN)/real/*.json $(RUN)/training/synthetic/*.json | \
    sed -e 's/^/CHECK FAILED: /' -e 's/\.json$$/ should not be used (docs\/honesty.md)/' || true

demo: evaluate benchmark real ## the whole chain on a phantom cohort and one real image (about 5 minutes)
	@cat $(RUN)/evaluation/*table1.md $(RUN)/benchmark/*benchmark.md
	@echo
	@echo "Exact and synthetic maps, tables and figures:"
	@ls -1 $(RUN)/evaluation/*report.html $(RUN)/benchmark/*benchmark.png $(RUN)/real/*.png
	@$(FAILED_CHECKS)

$(RUN)/phantom/cohort.csv: | $(VENV)/.base
	$(BIN)/radsynth phantom -o $(@D) --size $(SIZE) --slices $(SLICES) --force

groundtruth: $(RUN)/store.h5 ## exact maps of COHORT into the patch store RUN/store.h5
$(RUN)/store.h5: $(COHORT) | $(VENV)/.base
	$(BIN)/radsynth groundtruth $(COHORT) -o $@ --force $(GROUNDTRUTH_OPTIONS)

train: $(RUN)/training/run.json ## two-fold training on the store into RUN/training
$(RUN)/training/run.json: $(RUN)/store.h5
	$(BIN)/radsynth train $< -o $(@D) --force $(TRAIN_OPTIONS)

synthesize: $(RUN)/training/synthetic/index.csv ## synthetic maps of every patient, by the fold that held them out
$(RUN)/training/synthetic/index.csv: $(RUN)/training/run.json
	$(BIN)/radsynth synthesize $(COHORT) -o $(@D) --model $(<D) --force

evaluate: $(RUN)/evaluation ## agreement of exact and synthetic maps: tables, figures, report
$(RUN)/evaluation: $(RUN)/training/synthetic/index.csv
	$(BIN)/radsynth evaluate $(RUN)/training -o $@ --force

benchmark: $(RUN)/benchmark ## exact against synthetic on this machine
$(RUN)/benchmark: $(RUN)/training/run.json
	$(BIN)/radsynth benchmark -o $@ --model $(<D)/fold0.keras --force $(BENCHMARK_OPTIONS)

real: $(RUN)/real ## an exact and a synthetic map of a post-contrast MR slice that pydicom ships
$(RUN)/real: $(RUN)/training/run.json
	mkdir -p $@
	image=$$($(BIN)/python -c 'from pydicom import examples; print(examples.get_path("overlay"))') && \
	$(BIN)/radsynth map "$$image" -o $@/entropy_exact.nii.gz --preview $@/entropy_exact.png --force && \
	$(BIN)/radsynth synthesize "$$image" -o $@/entropy_synthetic.nii.gz --model $(<D)/fold0.keras \
	    --preview $@/entropy_synthetic.png --force
	touch $@

# Processes that share the tests by their files; `PARALLEL=` runs them in one
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
# Numba's simulator of CUDA needs its compiler off
SIMULATOR := NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1
# Its files are few, and one takes most of the time
SIMULATED_PARALLEL = $(subst loadfile --no-loadscope-reorder,worksteal,$(PARALLEL))
SIMULATED := tests/glcm_cuda/test_entropy_map.py tests/glcm_cuda/engines tests/glcm_cuda/families/glcm/test_cuda_features.py \
	tests/glcm_cuda/families/test_cuda_families.py tests/glcm_cuda/families/firstorder/test_cuda_maps.py

test: $(VENV)/.test ## the quick tests, the simulator's among them (about 5 minutes)
	$(BIN)/pytest -q -m "not slow" $(PARALLEL)
	$(MAKE) test-sim

test-sim: $(VENV)/.test ## the CUDA backend in Numba's simulator
	$(SIMULATOR) $(BIN)/pytest -q -m "not slow" $(SIMULATED_PARALLEL) $(SIMULATED)

test-slow: $(VENV)/.test ## the slow tests (about 12 minutes)
	$(BIN)/pytest -q -m slow $(PARALLEL)
	$(SIMULATOR) $(BIN)/pytest -q -m slow $(SIMULATED_PARALLEL) $(SIMULATED)

# Of the tests of both backends the halves that use CUDA
CUDA_HALF := test_cuda or cuda] or same_bits
EMULATED = -p ptx.plugin -k "ptx or $(CUDA_HALF)" $(if $(ALL),,-m "not slow")
test-ptx: $(VENV)/.test ## compiled CUDA code on an emulated device; also the slow tests with ALL=1 (4 minutes, 5)
	$(BIN)/python tests/ptx/run.py $(BIN)/python -m pytest -q $(EMULATED) $(SIMULATED_PARALLEL) tests/ptx $(SIMULATED)

coverage: $(VENV)/.test ## the quick tests again, with the share of the code that they reach
	$(BIN)/pytest -q -m "not slow" $(PARALLEL) --cov --cov-report=term

CALLS ?= 2000
FILES ?= 500
KILLS ?= 20
SEED ?= 0
FUZZER := PYTHONPATH=.:tests $(BIN)/python

fuzz: $(VENV)/.test ## the API against the oracle, damaged files through the commands: CALLS=20000 FILES=5000 SEED=0
	$(FUZZER) -m fuzz --calls $(CALLS) --files $(FILES) --seed $(SEED)

crash: $(VENV)/.test ## commands killed at random moments, run again and compared: KILLS=20 SEED=0
	$(FUZZER) -m fuzz.kills --times $(KILLS) --seed $(SEED)

# The versions of an environment that passes the tests, for its own Python and system alone
constraints: $(VENV)/.test ## write constraints.txt, so that `make` is the same tomorrow
	$(BIN)/pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools \
	    | sed 's/$$/; python_version == "3.11" and sys_platform == "linux"/' > constraints.txt

test-release: test-oracles test-monai test-notebooks test-oldest test-core test-clean ## what needs environments of its own

ORACLES := .venv-oracles
$(ORACLES)/.made: tests/oracles/requirements.txt
	$(PYTHON) -m venv $(ORACLES)
	$(ORACLES)/bin/pip install --quiet --upgrade pip
	$(ORACLES)/bin/pip install --quiet -r $<
	touch $@

test-oracles: $(ORACLES)/.made ## maps against pyradiomics, scikit-image, mahotas and ITK themselves
	$(ORACLES)/bin/python -m pytest -q -c tests/oracles/pytest.ini tests/oracles

MONAI := .venv-monai
$(MONAI)/.made: tests/monai/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(MONAI)
	$(MONAI)/bin/pip install --quiet -r $< -e '.[surrogate]'
	touch $@

test-monai: $(MONAI)/.made ## tensors, and the transforms of MONAI in MONAI and TorchIO themselves
	$(MONAI)/bin/python -m pytest -q -c tests/monai/pytest.ini tests/monai

NOTEBOOKS := .venv-notebooks
$(NOTEBOOKS)/.made: tests/notebooks/requirements.txt pyproject.toml
	$(PYTHON) -m venv $(NOTEBOOKS)
	$(NOTEBOOKS)/bin/pip install --quiet -r $< -e '.[surrogate,filters,report]'
	touch $@

test-notebooks: $(NOTEBOOKS)/.made ## the notebooks of examples/notebooks, run again
	$(NOTEBOOKS)/bin/python -m pytest -q -c tests/notebooks/pytest.ini tests/notebooks

OLDEST := .venv-oldest
$(OLDEST)/.made: pyproject.toml
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet uv
	$(OLDEST)/bin/uv pip install --quiet --python $(OLDEST)/bin/python --resolution lowest-direct -e '.[$(TENSORFLOW),$(TESTED),test]'
	touch $@

# Old libraries warn of what newer ones have mended, so that warnings are no errors here
test-oldest: $(OLDEST)/.made ## the quick tests with the oldest versions that pyproject.toml allows
	$(OLDEST)/bin/python -m pytest -q -W default -m "not slow" $(PARALLEL)

CORE := .venv-core
test-core: ## help of every command, a map and a region in a new environment without extras
	rm -rf $(CORE)
	$(PYTHON) -m venv $(CORE)
	$(CORE)/bin/pip install --quiet -c constraints.txt -e .
	$(CORE)/bin/python -P tests/core.py

test-clean: ## the set-up of the README from nothing, and the whole chain with it
	rm -rf .venv-clean runs/clean
	$(MAKE) demo VENV=.venv-clean RUN=runs/clean

# Needs no set-up of ours, so that it also runs on a machine that has numba-cuda, h5py, pytest and pytest-xdist
# only. Its versions are not ours: warnings are no errors, and whatever else pytest would load there stays out.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))
GPU_PROCESSES ?= 12
GPU_RESULTS ?= benchmarks/results
# To rehearse it without a device: python tests/ptx/run.py make test-gpu GPU_RESULTS=DIR GPU_OPTIONS=--rehearse
GPU_OPTIONS ?= --minutes 5
# Where CUDA's compiler is not among Python's packages
ifneq ($(wildcard /usr/local/cuda),)
test-gpu gpu-tests gpu-benchmark: export CUDA_HOME ?= /usr/local/cuda
endif

test-gpu: ## values and speed on a CUDA device, into benchmarks/results (8 minutes at most on 16 cores)
	$(MAKE) --keep-going gpu-tests gpu-benchmark

gpu-tests: ## the tests of the CUDA backend, on a device
	@$(GPU_PYTHON) -c "from glcm_cuda.engines.choice import why_no_cuda; raise SystemExit(why_no_cuda() or 0)"
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(GPU_PYTHON) -m pytest -p xdist -n $(GPU_PROCESSES) --dist worksteal \
	    -q -W default -k "$(CUDA_HALF)" $(SIMULATED)

gpu-benchmark: ## the benchmark of the CUDA backend alone, five minutes of the cases that are worth most
	PYTHONPATH=.:$(PYTHONPATH) $(GPU_PYTHON) benchmarks/bench_gpu.py --output $(GPU_RESULTS) $(GPU_OPTIONS)

lint: $(VENV)/.test ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test ## format the code
	$(BIN)/ruff format .

clean: ## remove what the targets made
	rm -rf $(VENV) $(ORACLES) $(MONAI) $(NOTEBOOKS) $(OLDEST) $(CORE) .venv-clean runs build *.egg-info
