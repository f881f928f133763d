# make train: environment, data, training, test and pictures.   make test: environment and test suite.
CONFIG := configs/thundernet/snet49_shapes.py
WORK_DIR := work_dirs/snet49_shapes
PICTURES := pictures

export PATH := $(CURDIR)/.venv/bin:$(PATH)
# mmcv is built without CUDA here; the README says how to use a GPU.
export CUDA_VISIBLE_DEVICES :=

.PHONY: env train test lint

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

lint: env
	@ruff check .
