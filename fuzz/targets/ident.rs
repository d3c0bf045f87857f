//! An ident map.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::ident;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| ident(input));
