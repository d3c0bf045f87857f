//! A `pgbouncer.ini`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgherd_core::hostile::ini;

fuzz_target!(init: pgherd_fuzz::init(), |input: &[u8]| ini(input));
