# Doors to the developer commands; `cargo x` lists them all.

.PHONY: demo test check

demo:
	cargo x demo

test:
	cargo x test

check:
	cargo x check
