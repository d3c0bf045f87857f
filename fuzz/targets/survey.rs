//! The look at a batch before it is relayed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_lab::hostile::in_any_pieces;
use pgherd_server::hostile::survey;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| in_any_pieces(input, survey));
