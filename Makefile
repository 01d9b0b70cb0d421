# Short names for this checkout's commands, which work without make too.
.PHONY: help build lint quick unit snapshot-update double lab test bench fuzz docs guest-kernel install

help: ## show this list
	@sed -n 's/^\([a-z-]*\): ## /\1 /p' Makefile | while read -r name text; do printf '%-17s %s\n' "$$name" "$$text"; done
build: ## make the guest: its kernel and its initrd
	./build
lint: ## run the linters
	tools/test --only lint
quick: ## run the linters and the compiler's tests, in about 20 s
	tools/test --only quick
unit: ## run the unit and snapshot tests
	tools/test --only unit
snapshot-update: ## write the snapshots anew; read the difference before you commit it
	tools/python -m pytest -q tests/unit/compiler/test_snapshots.py --snapshot-update
double: ## run the tests with engines on tools/xl-double
	tools/test --only double
lab: ## run the tests in the Xen lab
	tools/test --lab-only
test: ## run all tests
	tools/test
bench: ## measure what runx costs
	tools/bench
fuzz: ## look for a guest that the supervisor does not withstand
	tools/fuzz
docs: ## write the generated documents anew
	tools/python -m runxtools.documents
guest-kernel: ## write the table of what the guest's kernel has anew
	./build kernel-table
install: ## install runx and its guest below /usr/local
	./build install
