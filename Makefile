# make train: environment, data, training, test and pictures.   make test: environment and tests.
# make test-all: with the slow tests. make test-web: the page of examples/web, with Node.js and Chromium.
# make test-older, test-onedl, test-py312: all tests with other versions, in an environment of their own.
CONFIG := configs/thundernet/snet49_shapes.py
WORK_DIR := work_dirs/snet49_shapes
PICTURES := pictures

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# mmcv is built without CUDA here; docs/environments.md says how to use a GPU.
export CUDA_VISIBLE_DEVICES :=

.PHONY: env train test test-all test-web lint coverage mutation

env:
	@bash requirements/setup_env.sh

train: env
	@test data/shapes -nt mmthunder/tools/misc/make_shapes.py || { \
		echo '[train] writing the data set data/shapes (about 20 seconds) ...'; \
		python tools/misc/make_shapes.py --out data/shapes --force; }
	@echo '[train] training $(CONFIG) (about 6 minutes on 2 cores) ...'
	@mim train mmdet $(CONFIG) --work-dir $(WORK_DIR)
	@echo '[train] testing the checkpoint and drawing the held-out images (about 1 minute) ...'
	@rm -rf $(WORK_DIR)/test
	@mim test mmdet $(CONFIG) --checkpoint "$$(cat $(WORK_DIR)/last_checkpoint)" --work-dir $(WORK_DIR)/test \
		--show-dir $(PICTURES)
	@echo '[train] COCO AP of the held-out images: the table above'
	@echo "[train] checkpoint: $$(cat $(WORK_DIR)/last_checkpoint)"
	@echo "[train] pictures (ground truth left, detections right): $$(ls -d $(WORK_DIR)/test/*/$(PICTURES))"

test: env
	@python -m pytest

test-all: env
	@python -m pytest -m 'not stress'

# The page of examples/web in Chromium; the other tests skip it where its packages are not installed.
test-web: env
	@cd examples/web && npm ci --no-audit --no-fund
	@python -m pytest -m slow tests/examples/test_web.py

test-%:
	@bash requirements/setup_env.sh $*
	@PATH=$(CURDIR)/.venv-$*/bin:$$PATH python -m pytest -m 'not stress' -W default  # other versions, other warnings

lint: env
	@ruff check .
	@ruff format --check .

# The test suite with the share of lines that it runs; fails below the share that pyproject.toml asks for.
coverage: env
	@python -m pytest -m 'not stress' --cov --cov-report=term

# Which changes of the code no test notices; takes hours, goes on where it was interrupted.
SESSION := $(CURDIR)/work_dirs/mutation.sqlite
mutation: env
	@python -m pip install -q -c requirements/constraints.txt cosmic-ray
	@test -f $(SESSION) || { rm -rf work_dirs/mutation && git clone -q . work_dirs/mutation && cd work_dirs/mutation && \
		cosmic-ray init tests/cosmic_ray.toml $(SESSION) && cr-filter-operators $(SESSION) tests/cosmic_ray.toml; }
	@cd work_dirs/mutation && git checkout -q . && \
		PYTHONPATH=$$PWD OMP_NUM_THREADS=1 cosmic-ray exec tests/cosmic_ray.toml $(SESSION)
	@cr-report --surviving-only --show-diff $(SESSION)
