# make train: environment, data, training, test and pictures.   make test: environment and test suite.
# make test-older, make test-onedl, make test-py312: the test suite with other versions, in an environment of its own.
CONFIG := configs/thundernet/thundernet_snet49_1xb8-5e_shapes.py
WORK_DIR := work_dirs/thundernet_snet49_1xb8-5e_shapes
PICTURES := pictures

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# mmcv is built without CUDA here; the README says how to use a GPU.
export CUDA_VISIBLE_DEVICES :=

# What decides which features and boxes a ThunderNet has.
MUTATED := $(addprefix mmthunder/models/,layers/ps_roi_align.py layers/spatial_attention.py necks/cem.py \
	dense_heads/light_rpn_head.py roi_heads/ps_roi_extractor.py)

.PHONY: env train test lint coverage mutation

env:
	@bash tools/setup_env.sh

train: env
	@test data/shapes -nt tools/misc/make_shapes.py || { \
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

test-%:
	@bash tools/setup_env.sh $*
	@PATH=$(CURDIR)/.venv-$*/bin:$$PATH python -m pytest

lint: env
	@ruff check .
	@ruff format --check .

# The test suite with the share of lines that it runs; fails below the share that pyproject.toml asks for.
coverage: env
	@python -m pytest --cov --cov-report=term

# Which changes of the code no test notices.
mutation: env
	@python -m pip install -q -c requirements/constraints.txt -r requirements/mutation.txt
	@OMP_NUM_THREADS=1 python tools/misc/mutation.py $(MUTATED)
